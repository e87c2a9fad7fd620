"""Every command on a page is one that azr takes; those that this machine can run are run.

A command that is in none of the classes below (run, or not run for a reason) fails the test.
"""

from __future__ import annotations

import ast
import io
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from azr import cli, settings
from azr.arguments import only_one, preset_and_settings, split
from azr.domains import registry
from azr.sandbox_commands import _config as sandbox_config
from azr.sweep.grid import parse as parse_sweep
from azr.train.start import RESUMABLE, resolve
from tests.commands import SHORT, command
from tests.runs import only_run

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(
    r"(azr|pip|make|python|docker|torchrun|sky|sbatch|kubectl|export|eval|echo|printf|azr-run|RUN=\S+) "
)

ADDED = ["role-baseline", "recorded", "engine=", "skip_zero"]  # by the diffs of docs/extending.md

NOT_RUN = {  # the beginning of a command, and why no test runs it
    "azr-run FOLDER": "tests/deploy runs deploy/azr-run",
    "azr serve": "needs vLLM",
    "azr sandbox serve --host 10.0.0.5": "needs that address; tests/sandbox/test_serve.py serves on localhost",
    "azr sandbox doctor backend=recorded": "tests/test_extending.py runs it with the diffs of the page",
    "azr sandbox doctor backend=remote": "needs two servers; tests/sandbox asks servers on localhost",
    "azr chat Qwen": "downloads a model",
    "azr eval Qwen": "needs a served model",
    "azr eval runs/mine": "needs a served model",
    "azr plan qwen2.5-coder-3b-lora-24gb": "times a step of a model that is not here; run with --gpu",
    "azr train PRESET generation.urls": "needs vLLM servers",
    "azr train paper": "needs a GPU",
    "azr train qwen2.5-coder-3b-lora-24gb": "needs a GPU",
    "azr train tinker": "needs the Tinker service; tests/tinker has one of its own",
    "azr train demo sandbox.backend": "needs that sandbox; tests/sandbox and tests/test_extending.py have one",
    "azr train demo algorithm.name=role-baseline": "tests/test_extending.py runs it with the diffs of the page",
    "azr train demo generation.engine": "tests/test_extending.py runs it with the diffs of the page",
    "azr train demo algorithm.name=grpo learner.skip_zero": "tests/test_extending.py runs it with the diffs of the page",
    "azr train demo trackers.use=wandb": "needs an account; tests/train/test_trackers_for_real.py has an offline one",
    "azr train demo --model path/or/hub-name": "needs a chat model of the reader's own",
    "azr train demo --model m@": "needs a served model",
    "azr train --resume RUN sandbox.url": "needs a sandbox server",
    "azr train --resume RUN generation.urls": "needs a vLLM server",
    "azr explain RUN 1/solve": "tests/test_extending.py runs it with the diffs of the page",
    "azr domains bases": "tests/domains/test_plugins.py installs the example",
    "azr domains new sums": "tests/domains/test_new.py writes such a package, installs it and runs its tests",
    "azr domains try sums": "tests/domains/test_new.py installs such a package",
    "azr train demo rewards.plugins": "tests/test_extending.py installs the example",
    "azr train examples/azr-bases": "tests/domains/test_plugins.py installs the example",
    "azr eval nursery --bench bases": "tests/domains/test_plugins.py installs the example",
    "azr watch RUN --web": "serves until it is stopped; tests/watch asks such a server",
    "torchrun": "needs two machines; tests/distributed starts two nodes on this one",
    "azr play RUN": "is for a terminal; docs/seeing.md has one that is not",
    "azr chat RUN": "is for a terminal; docs/seeing.md has one that is not",
}

OTHERS = {  # what else a page has the reader type, and why no test runs it
    ".venv/bin/azr": "is for a Mac; the workflow of CI runs it on one",
    ".venv/bin/pip": "installs packages",
    "hf auth login": "needs an account",
    "python -m pytest azr-sums": "tests/domains/test_new.py runs the tests of such a package",
    "python3 -m venv": "makes an environment",
    "vf-eval": "needs an environment of its own, in which tests/verifiers runs it",
    "docker": "needs Docker; tests/deploy checks the image",
    "export": "sets a variable of the shell",
    "kubectl": "needs a cluster; tests/deploy checks the file",
    "make": "makes an environment, or runs the tests",
    "pip": "installs packages",
    "python -c": "looks for a GPU",
    "python -m venv": "installs vLLM",
    "python bench/": "takes minutes; tests/bench runs its parts",
    "sbatch": "needs a cluster; tests/deploy checks the file",
    "sky": "needs a cloud; tests/deploy checks the file",
    "torchrun": "needs two machines; tests/distributed starts one on this machine",
    "printf": "writes a file",
    "RUN=": "names a run",
}

PLACES = {  # what stands for something on the pages, and what it is in the test
    r"runs/demo-20261121-060701|\$RUN|\bRUN\b|runs/mine": "run",
    r"run@20": "run@1",
    r"\bOTHER_RUN\b": "run",
    r"\b3/solve/deduction/0012/1\b|\b1/solve/deduction/0000/0\b|\bROLLOUT\b": "THE_ROLLOUT",
    r"\bMODEL\b|path/or/hub-name": "nursery",
    r"\bPRESET_OR_FILE\b": "demo",
    r"\bPRESET\b": "paper",
    r"\bFOLDER\b": "folder",
    r"\bEVALS\b": "run/evals",
    r"run/checkpoints/000030": "run/checkpoints/000002",
    r"\bmy\.toml\b": "my.toml",
}


def commands() -> Iterator[tuple[str, str]]:
    """Page and line of every command in a code block."""
    for page in PAGES:
        for language, text in BLOCK.findall(page.read_text()):
            for line in text.splitlines():
                if language == "sh" or (not language and COMMAND.match(line)):
                    line = re.sub(r"\s+# .*$", "", line).strip()
                    if line and not line.startswith("#"):
                        yield page.name, line


def azr_words(line: str) -> list[str] | None:
    """The words after `azr` in a line of a shell, without pipes and redirections; None if it calls something else."""
    found = re.search(r"(?:^|\| |\$\(|-m )azr ([^|>)]*)", line)
    return shlex.split(found[1]) if found else None


COMMANDS = list(dict.fromkeys(commands()))
OF_AZR = [(page, line) for page, line in COMMANDS if azr_words(line)]
REST = [(page, line) for page, line in COMMANDS if not azr_words(line)]


def settled(words: list[str], rollout: str = "1/solve/deduction/0000/0") -> list[str]:
    """The words with what the test has in the place of the page's names."""
    text = "\0".join(words)
    for name, value in PLACES.items():
        text = re.sub(name, value, text)
    return text.replace("THE_ROLLOUT", rollout).split("\0")


def parsed(words: list[str]) -> tuple[str, dict]:
    """The command and its arguments as the command line reads them; nothing is run."""
    group, context, args, names = typer.main.get_command(cli.app), None, words, []
    while hasattr(group, "commands"):
        context = group.make_context("azr", args, parent=context)
        if not (context._protected_args or context.args):
            return " ".join(names), context.params
        name, group, args = group.resolve_command(context, [*context._protected_args, *context.args])
        names.append(name)
    return " ".join(names), group.make_context(names[-1], args, parent=context).params


def check(name: str, given: dict) -> None:
    """Resolve presets, keys and values of a command."""
    assignments = split(given.get("words"))[1]
    if name in ("train", "plan", "config"):
        options = (given[key] for key in ("steps", "seed", "model", "output_dir"))
        sources, assignments = preset_and_settings(given["words"], given["config"], *options)
        if given.get("resume") or given.get("fork"):
            assert not sources
            assert not given["resume"] or all(word.startswith(RESUMABLE) for word in assignments)
            sources = ["demo"]
        if sources == ["my.toml"]:
            sources = ["demo"]
        source = only_one(sources, name)
        resolve(str(ROOT / source) if source.startswith("examples/") else source, assignments)
    elif name == "sweep":
        found = parse_sweep(*split(given["words"]), given["seeds"])
        for values in found.settings.values():
            resolve(found.source, [*found.words, *values])
    elif name.startswith("sandbox "):
        sandbox_config(assignments)
    elif name == "domains" and given.get("name"):
        registry.about(given["name"])


@pytest.mark.parametrize(("page", "line"), OF_AZR, ids=[f"{page}: {line}" for page, line in OF_AZR])
def test_azr_takes_every_command_of_the_pages(page, line):
    words = azr_words(line)
    if any(name in line for name in ADDED):
        pytest.skip("an option that a diff of docs/extending.md adds: tests/test_extending.py")
    if any(name in line for name in ("bases", "brevity", "sums")):
        pytest.skip("a package that is not installed here: see NOT_RUN")
    check(*parsed(settled(words)))


def test_presets_and_files_named_on_the_pages_are_there():
    text = "\n".join(line for _, line in COMMANDS)
    files = set(re.findall(r"\b(?:deploy|bench|examples)/[\w./-]+\.\w+", text))
    assert files
    assert [file for file in files if not (ROOT / file).exists()] == []


@pytest.mark.parametrize(("page", "line"), REST, ids=[f"{page}: {line}" for page, line in REST])
def test_every_other_command_of_the_pages_is_in_a_class_and_what_it_names_is_there(page, line):
    (kind,) = [kind for kind in OTHERS if line.startswith(kind)] or ["azr-run"]
    words = shlex.split(line)
    if kind == "azr-run":
        assert any(line.startswith(name) for name in NOT_RUN)
        assert (ROOT / "deploy" / "azr-run").exists()
    if kind == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text()
    if kind == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        named = [name for found in re.findall(r"(?:azr|\.)\[([\w,-]+)\]", line) for name in found.split(",")]
        assert set(named) <= set(extras)
    if kind == "docker" and "build" in words:
        assert f" AS {words[words.index('--target') + 1]}\n" in (ROOT / "Dockerfile").read_text()


def test_every_preset_that_sky_or_slurm_is_given_is_there():
    lines = [line for _, line in REST if line.startswith(("sky jobs", "sbatch"))]
    named = [re.search(r"PRESET=(\S+)|(\S+)$", line) for line in lines]
    assert lines
    assert {found[1] or found[2] for found in named} <= set(settings.presets())


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted({line.split()[1] for _, line in REST if line.startswith("python bench/")}))
def test_a_benchmark_takes_the_options_of_the_pages(script):
    done = subprocess.run([sys.executable, ROOT / script, "--help"], capture_output=True, text=True, check=True)
    for _, line in REST:
        if script in line:
            options = {word for word in shlex.split(line) if word.startswith("--")}
            assert all(option in done.stdout for option in options)


# Running

RUNNABLE = list(dict.fromkeys(line for _, line in OF_AZR if not any(line.startswith(start) for start in NOT_RUN)))
"""Commands that this machine runs in seconds, with fewer and smaller steps where they train."""

SMALLER = {
    "train": f"{SHORT} steps=1 output_dir=out",
    "sweep": f"{SHORT} --seeds 0-1 --out sweep",
    "runs": ".",
    "eval": "--limit 2",
    "plan": "--no-time",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a run of the demo, its evaluation, and a tiny configuration."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert command("train", "demo", *SHORT.split())[0] == 0
        only_run(folder / "runs").rename(folder / "run")
        assert command("eval", "run", "--bench", "primes", "--limit", "1")[0] == 0
        (folder / "task.py").write_text("def f(a):\n    return a + 1\n")
        (folder / "my.toml").write_text(command("config", "demo", "learner.lr=1e-4")[1])
    return folder


def a_rollout(run: Path) -> str:
    found = re.search(r'"event": "advantage", "step": 1, "id": "(1/solve/[^"]+)"', (run / "events.jsonl").read_text())
    assert found
    return found[1]


@pytest.mark.slow
@pytest.mark.parametrize("line", RUNNABLE)
def test_a_command_of_the_pages_runs(place, tmp_path, monkeypatch, line):
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    words = settled(azr_words(line), a_rollout(tmp_path / "run"))
    resumed = "--resume" in words or "--fork" in words
    smaller = "steps=3" if resumed else SMALLER.get(words[0], "")
    if words[0] == "plan" and "--gpus" in words:
        smaller = ""
    if "--push" in words:
        smaller = "--dry-run"
    said = re.match(r"echo '(.*)' \| ", line)
    code, out, err = command(*words, *smaller.split(), stdin=io.StringIO(said[1] + "\n") if said else None)
    assert (code, err) == (0, "") or (words[0] == "plan" and code == 1), err
    assert out


def test_no_reason_for_a_command_that_is_not_run_is_out_of_date():
    lines = [line for _, line in COMMANDS]
    assert [start for start in NOT_RUN if not any(azr.startswith(start) for azr in lines)] == []


def python_blocks() -> list[tuple[str, int, str]]:
    return [
        (page.name, number, text)
        for page in PAGES
        for number, (language, text) in enumerate(BLOCK.findall(page.read_text()))
        if language == "python"
    ]


@pytest.mark.parametrize(("page", "number", "text"), python_blocks(), ids=[f"{p}-{n}" for p, n, _ in python_blocks()])
def test_python_on_a_page_compiles(page, number, text):
    if page == "notebook.md":
        text = re.sub(r"^[!%].*$", "", text, flags=re.MULTILINE)  # IPython's own; tests/test_notebook.py runs them
    compile(textwrap.dedent(text), f"{page}, block {number}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
