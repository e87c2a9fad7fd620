"""`azr report`: folders of runs and of evaluations become one page."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from azr.analysis.archive import pack
from azr.analysis.follow import Follower
from azr.errors import UserError
from azr.evals.command import RESULTS
from azr.report.completions import evaluation_data
from azr.report.ledgers import ledger_blocks
from azr.report.page import charts_library, for_script, render
from azr.run.directory import CONFIG, RunDirectory, explained

LARGEST = 9_500_000
"""Characters of the whole page: a file that can be sent by mail and opens at once."""
LEAST = 100_000
"""Characters that a run's texts get, however many runs there are."""
LEDGERS = 0.25
"""Share of the room for a run's texts that ledgers may take."""


def report(paths: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page of one or more runs, side by side, and of evaluations.

    Args:
        paths: folders of runs, or folders that `azr eval` wrote; a run's own evaluations come along with it.
        out: file to write; None for report.html in the first folder.

    Returns:
        where it was written.

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
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    with explained(target, remedy="name another file with --out, or make it writable"):
        partial.write_text(page, encoding="utf-8")
        partial.replace(target)
    return target


def page_data(
    followers: Sequence[Follower], evaluations: Sequence[Path] = (), *, ledgers: bool = True
) -> dict[str, Any]:
    """What `azr.report.page.render` is given.

    Args:
        followers: of the runs, polled; of runs that have ended, their analyses closed.
        evaluations: folders that `azr eval` wrote.
        ledgers: whether to recompute ledgers too, which reads parts of the events again.

    Raises:
        UserError: a log or an evaluation cannot be read.
    """
    runs = [run_data(follower, name) for follower, name in zip(followers, _names(followers), strict=True)]
    parts = max(1, len(runs) + len(evaluations))
    room = LARGEST - len(charts_library()) - len(for_script(runs)) - 100_000
    share = max(LEAST, room // parts)
    for follower, run in zip(followers, runs, strict=True):
        if ledgers:
            run["blocks"]["ledgers"], said = ledger_blocks(follower.run, follower.offsets, int(share * LEDGERS))
            run["notes"] += said
        if follower.analysis.archive is not None:
            used = len(for_script(run["blocks"]))
            blocks, said = follower.analysis.archive.fitted(share - used)
            run["blocks"] |= blocks
            run["notes"] += said
    return {"runs": runs, "evals": [evaluation_data(folder, share) for folder in evaluations]}


def run_data(follower: Follower, name: str) -> dict[str, Any]:
    """One run as JSON, without what was written in it."""
    analysis = follower.analysis
    data = analysis.data()
    tree = RunDirectory.open(follower.run).tree()
    done = analysis.steps[-1].step if analysis.steps else 0
    family = data.pop("family")
    return {
        "name": name,
        "about": about(tree),
        "planned": tree.get("steps"),
        "done": done,
        "finished": done == tree.get("steps"),
        "family": base64.b64encode(pack(family)).decode("ascii"),
        "blocks": {},
        "notes": _notes(follower, data),
        **data,
    }


def about(tree: Mapping[str, Any]) -> dict[str, str]:
    """The settings that tell one run from another, from its configuration as it was written down."""
    found = {
        "model": Path(str(_at(tree, "model.name"))).name,
        "domain": _at(tree, "domain.name"),
        "kinds": ", ".join(_at(tree, "domain.kinds") or []),
        "algorithm": _at(tree, "algorithm.name"),
        "rewards": _at(tree, "rewards.profile"),
        "learning rate": _at(tree, "learner.lr"),
        "proposals a kind": _at(tree, "selfplay.batch_size"),
        "attempts a task": _at(tree, "selfplay.samples"),
        "seed": tree.get("seed"),
    }
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def _at(tree: Mapping[str, Any], key: str) -> Any:
    section, name = key.split(".")
    return tree.get(section, {}).get(name)


def _notes(follower: Follower, data: Mapping[str, Any]) -> list[str]:
    """What a reader of the page should know of its making."""
    notes = []
    if data["unfinished"] is not None:
        notes.append(f"step {data['unfinished']} is not complete: it is left out of the curves")
    if follower.unreadable:
        notes.append(f"lines of the logs that could not be read: {follower.unreadable:,}")
    for name, count in data["unknown"].items():
        notes.append(f"events passed over: {count:,} of type {name}")
    return notes


def _sorted(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Runs and evaluations among the folders; of a run its evaluations too."""
    runs, evaluations = [], []
    for path in paths:
        if (path / CONFIG).is_file():
            runs.append(path)
            evaluations += [path / "evals"] if (path / "evals" / RESULTS).is_file() else []
        elif (path / RESULTS).is_file():
            evaluations.append(path)
        else:
            raise UserError(
                f"{path}: neither a run ({CONFIG}) nor an evaluation ({RESULTS}); name a folder that azr train or"
                " azr eval made"
            )
    return runs, list(dict.fromkeys(evaluations))


def _names(followers: Sequence[Follower]) -> list[str]:
    """Names of the folders, with the folder above where two are the same."""
    names = [follower.run.resolve().name for follower in followers]
    return [
        name if names.count(name) == 1 else f"{follower.run.resolve().parent.name}/{name}"
        for name, follower in zip(names, followers, strict=True)
    ]
