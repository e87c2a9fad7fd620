"""A sweep's folder: sweep.json says what it is, and each run lies in SETTING/SEED/, beside its log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from azr import settings
from azr.analysis.runs import Summary, summaries
from azr.errors import UserError
from azr.run.checkpoint import Checkpoints
from azr.run.directory import explained, replace_text
from azr.sweep.grid import Sweep, folder_name

MANIFEST = "sweep.json"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run of a sweep is.

    Attributes:
        setting, seed: which run.
        folder: that `azr train` makes the run's folder in.
    """

    setting: str
    seed: int
    folder: Path

    @property
    def title(self) -> str:
        """The run in words."""
        return f"{self.setting}, seed {self.seed}"

    def run(self) -> Summary | None:
        """The run that is finished, else the one that can be resumed; None if there is neither."""
        found = summaries(self.folder)
        finished = [run for run in found if run.state == "finished"]
        resumable = [run for run in found if Checkpoints(run.path, keep=1).newest() is not None]
        return next(iter([*finished, *resumable]), None)


def places(folder: Path, sweep: Sweep) -> Iterator[Place]:
    """All runs of a sweep, the first seed of every setting first."""
    for seed in sweep.seeds:
        for setting in sweep.settings:
            yield Place(setting, seed, folder / folder_name(setting) / str(seed))


def finished(folder: Path) -> dict[tuple[str, int], Path]:
    """Folders of the finished runs of the sweep in a folder, by setting and seed.

    Raises:
        UserError: its manifest cannot be read.
    """
    found = {(place.setting, place.seed): place.run() for place in places(folder, read(folder))}
    return {key: run.path for key, run in sorted(found.items()) if run is not None and run.state == "finished"}


def prepare(folder: Path, sweep: Sweep) -> Sweep:
    """Write the manifest. A sweep that is there already gains the new settings and seeds.

    Returns:
        the sweep as the manifest describes it.

    Raises:
        UserError: the folder holds something else, or cannot be written.
    """
    base = settings.read(sweep.source)
    with explained(folder, remedy="name another folder with --out, or make it writable"):
        if (folder / MANIFEST).is_file():
            known, before = _read(folder)
            if (known.source, sorted(known.words), before) != (sweep.source, sorted(sweep.words), base) or any(
                list(known.settings[name]) != list(words)
                for name, words in sweep.settings.items()
                if name in known.settings
            ):
                words = " ".join([known.source, *known.words])
                raise UserError(f"{folder}: holds another sweep ({words}); name another folder with --out")
            seeds = sorted({*known.seeds, *sweep.seeds})
            sweep = Sweep(sweep.source, {**known.settings, **sweep.settings}, seeds, known.words)
        elif folder.exists() and any(folder.iterdir()):
            raise UserError(f"{folder}: exists already and is no sweep; name another folder with --out")
        folder.mkdir(parents=True, exist_ok=True)
        replace_text(folder / MANIFEST, json.dumps(asdict(sweep) | {"base": base}, indent=1) + "\n")
    return sweep


def read(folder: Path) -> Sweep:
    """The sweep in a folder.

    Raises:
        UserError: its manifest cannot be read.
    """
    return _read(folder)[0]


def _read(folder: Path) -> tuple[Sweep, Any]:
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        base = found.pop("base")
        return Sweep(**found), base
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: cannot be read ({error}); it was changed, restore it") from None
