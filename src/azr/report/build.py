"""`azr report`: one page from folders of runs and of evaluations."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from azr.analysis.archive import pack
from azr.analysis.run import Follower
from azr.errors import UserError
from azr.evals.command import RESULTS
from azr.report.completions import evaluation_data
from azr.report.explain import ledger_blocks
from azr.report.page import charts_library, for_script, render
from azr.run.directory import CONFIG, RunDirectory, explained, replace_text

LARGEST = 9_500_000
"""Characters of the whole page, so that it can be sent by mail and opens quickly."""
LEAST = 100_000
"""Characters for the texts of each run, however many runs there are."""
LEDGERS = 0.25
"""Share of these characters that ledgers may use."""


def report(paths: Sequence[Path], out: Path | None = None) -> Path:
    """Write one page for one or more runs and evaluations, and return its path.

    Args:
        paths: folders of runs, or folders that `azr eval` wrote; a run's own evaluations are included.
        out: file to write; None for report.html in the first folder.

    Raises:
        UserError: a folder is neither, a log cannot be read, or the file cannot be written.
    """
    runs, evaluations = _sorted(paths)
    followers = [Follower(run) for run in runs]
    for follower in followers:
        follower.poll()
        follower.analysis.close()
    page = render(page_data(followers, evaluations))
    target = out or paths[0] / "report.html"
    with explained(target, remedy="name another file with --out, or make it writable"):
        replace_text(target, page)
    return target


def page_data(
    followers: Sequence[Follower], evaluations: Sequence[Path] = (), *, ledgers: bool = True
) -> dict[str, Any]:
    """The data for `azr.report.page.render`.

    Args:
        followers: of the runs, polled; for a run that has ended, with a closed analysis.
        evaluations: folders that `azr eval` wrote.
        ledgers: whether to include ledgers, which read parts of the events again.

    Raises:
        UserError: a log or an evaluation cannot be read.
    """
    runs = [run_data(follower, name) for follower, name in zip(followers, _names(followers), strict=True)]
    parts = max(1, len(runs) + len(evaluations))
    room = LARGEST - len(charts_library()) - len(for_script(runs)) - 100_000
    share = max(LEAST, room // parts)
    for follower, run in zip(followers, runs, strict=True):
        if ledgers:
            run["blocks"]["ledgers"], notes = ledger_blocks(follower.run, follower.offsets, int(share * LEDGERS))
            run["notes"] += notes
        if follower.analysis.archive is not None:
            blocks, notes = follower.analysis.archive.fitted(share - len(for_script(run["blocks"])))
            run["blocks"] |= blocks
            run["notes"] += notes
    return {"runs": runs, "evals": [evaluation_data(folder, share) for folder in evaluations]}


def run_data(follower: Follower, name: str) -> dict[str, Any]:
    """One run as JSON, without its texts."""
    run = RunDirectory.open(follower.run)
    data, tree = follower.analysis.data(), run.tree()
    done = follower.analysis.steps[-1].step if follower.analysis.steps else 0
    notes = [f"events skipped: {count:,} of type {event}" for event, count in data["unknown"].items()]
    if follower.unreadable:
        notes.insert(0, f"unreadable lines in the logs: {follower.unreadable:,}")
    if data["unfinished"] is not None:
        notes.insert(0, f"step {data['unfinished']} is not complete: it is left out of the curves")
    return {
        "name": name,
        "about": about(tree) | ({"forked from": parent} if (parent := run.parent()) else {}),
        "planned": tree.get("steps"),
        "done": done,
        "finished": done == tree.get("steps"),
        "blocks": {},
        "notes": notes,
        **data,
        "family": base64.b64encode(pack(data["family"])).decode("ascii"),
    }


ABOUT = {
    "model": ("model", "name"),
    "domain": ("domain", "name"),
    "kinds": ("domain", "kinds"),
    "algorithm": ("algorithm", "name"),
    "rewards": ("rewards", "profile"),
    "learning rate": ("learner", "lr"),
    "proposals per kind": ("selfplay", "batch_size"),
    "attempts per task": ("selfplay", "samples"),
}
"""Settings that the page shows of each run."""


def about(tree: Mapping[str, Any]) -> dict[str, str]:
    """The settings that distinguish a run, from its stored configuration."""
    found = {title: tree.get(section, {}).get(name) for title, (section, name) in ABOUT.items()}
    found |= {"seed": tree.get("seed"), "model": Path(str(found["model"])).name}
    words = {name: ", ".join(value) if isinstance(value, list) else value for name, value in found.items()}
    return {name: str(value) for name, value in words.items() if value not in (None, "")}


def _sorted(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The runs and the evaluations among the folders, including those within the runs."""
    runs, evaluations = [], []
    for path in paths:
        if (path / CONFIG).is_file():
            runs.append(path)
            evaluations += [path / "evals"] if (path / "evals" / RESULTS).is_file() else []
        elif (path / RESULTS).is_file():
            evaluations.append(path)
        else:
            raise UserError(
                f"{path}: neither a run ({CONFIG}) nor an evaluation ({RESULTS}); name a folder made by azr train or"
                " azr eval"
            )
    return runs, list(dict.fromkeys(evaluations))


def _names(followers: Sequence[Follower]) -> list[str]:
    """Names of the folders, with the parent folder if two are the same."""
    names = [follower.run.resolve().name for follower in followers]
    return [
        name if names.count(name) == 1 else f"{follower.run.resolve().parent.name}/{name}"
        for name, follower in zip(names, followers, strict=True)
    ]
