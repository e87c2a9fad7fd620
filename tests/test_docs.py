"""What the build of the documentation does not look at: generated pages, the README, links out of docs/, the navigation."""

import importlib.util
import re
import tomllib
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from pymdownx.slugs import slugify

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
OTHERS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("examples/*/README.md"))]
ELSEWHERE = re.compile(r"[a-z]+:")  # https: and the like
GITHUB_SLUG = slugify(case="lower")


def made_page(name: str) -> str:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.page()


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def parsed(path: Path):
    return MarkdownIt().enable("table").parse(path.read_text())


def links(path: Path) -> list[str]:
    """Targets of links and pictures that lead to a file or an anchor of the repository."""
    children = [child for token in parsed(path) if token.type == "inline" for child in token.children]
    found = [child.attrGet("href") or child.attrGet("src") for child in children]
    return [target for target in found if target and not ELSEWHERE.match(target)]


def anchors(path: Path) -> set[str]:
    titles = [
        "".join(c.content for c in text.children)
        for head, text in pairwise(parsed(path))
        if head.type == "heading_open"
    ]
    return {GITHUB_SLUG(title, "-") for title in titles}


@pytest.mark.parametrize("page", ["configuration", "commands", "notebook"])
def test_a_page_that_is_made_from_the_code_is_current(page):
    assert (DOCS / f"{page}.md").read_text() == made_page(f"make_{page}"), f"run: python docs/make_{page}.py"


@pytest.mark.parametrize("path", [*OTHERS, *PAGES], ids=name_of)
def test_links_lead_to_files_and_anchors_that_are_there(path):
    for link in links(path):
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{name_of(path)}: {link}: no such file"
        if anchor:
            assert anchor in anchors(target), f"{name_of(path)}: {link}: no such heading"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_of_a_page_stay_within_the_site(path):
    outside = [link for link in links(path) if not (path.parent / link).resolve().is_relative_to(DOCS)]
    assert not outside, "the site holds docs/ alone: name a file outside it in code style"


def test_every_page_is_in_the_navigation_once_and_every_entry_is_a_page():
    def flat(entry) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [page for part in (entry.values() if isinstance(entry, dict) else entry) for page in flat(part)]

    navigation = flat(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"])
    assert sorted(navigation) == sorted(str(page.relative_to(DOCS)) for page in PAGES), "zensical.toml: nav"
