"""`azr train --fork`: a new run that continues from a checkpoint of another one, with other settings.

It starts as a copy: the parent's logs up to the checkpoint, the checkpoint, and the changed configuration. Without a
change it does what its parent did after that step.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from azr import settings
from azr.algorithms.registry import algorithm
from azr.config import Config
from azr.domains import registry
from azr.errors import UserError
from azr.run.checkpoint import Checkpoints, State, read_state
from azr.run.directory import CONFIG, PARENT, SEED, RunDirectory, explained

KEPT = {
    "model.": "weights, optimizer and checkpoint have the form of the parent's model",
    "domain.": "buffers and held-out tasks are the parent's",
    "evaluation.tasks": "gains are measured on the parent's held-out tasks",
    "learner.optimizer": "the optimizer's state is the parent's",
    "learner.offload": "the optimizer's state is the parent's",
    "learner.token_budget": "the budget is part of the parent's state",
    "selfplay.learn": "a run with learning has state that one without lacks",
    "selfplay.seed_file": "the buffers are filled already",
}
"""Keys that a fork cannot change, and why."""
FREE = ("model.device", "model.attention", "model.gradient_checkpointing", "model.endpoint.", "model.tinker.")
"""Exceptions: they decide how the model is run, not what it is."""


class Fork:
    """A fork that is possible, before anything is written.

    Args:
        text: RUN or RUN@STEP.
        assignments: settings that differ from the parent's.

    Attributes:
        config: of the fork.

    Raises:
        UserError: there is no such run or checkpoint, it is from before the first step, a log is shorter than it,
            or a key cannot change.
    """

    def __init__(self, text: str, assignments: Sequence[str]) -> None:
        self._parent, step = _split(text)
        run = RunDirectory.open(self._parent)
        tree = settings.override(run.tree(), assignments)
        self.config = settings.build(tree, registry.config_class, source=str(self._parent / CONFIG))
        _check(run.config(), self.config)
        self._checkpoint = Checkpoints(self._parent, keep=1).at(step)
        self._state = read_state(self._checkpoint)
        self._check_state(self._state)
        run.check_lengths(self._state.lengths)

    def create(self, used: Config) -> RunDirectory:
        """Create the folder of the new run, with the configuration that is used; it can be resumed from there.

        Raises:
            UserError: the disk is full or not writable, or the parent has removed the checkpoint meanwhile.
        """
        name = re.sub(r"(-fork)?-\d{8}-\d{6}(-\d+)?$", "", self._parent.resolve().name) + "-fork"
        return RunDirectory.create(Path(used.output_dir), name, settings.dump(used), self._fill)

    def _fill(self, folder: Path) -> None:
        with explained(self._checkpoint, remedy="the parent may have removed it meanwhile; fork again"):
            shutil.copytree(self._checkpoint, folder / "checkpoints" / f"{self._state.step:06d}")
        for name, length in self._state.lengths.items():
            _copy(self._parent / name, folder / name, length)
        shutil.copyfile(self._parent / SEED, folder / SEED)
        parent = {"run": str(self._parent.resolve()), "step": self._state.step}
        (folder / PARENT).write_text(json.dumps(parent) + "\n", encoding="utf-8")

    def _check_state(self, state: State) -> None:
        if state.seeding is not None:
            raise UserError(f"{self._checkpoint}: from before the first step, when the buffers were seeded; fork later")
        if state.step >= self.config.steps:
            raise UserError(
                f"{self._parent}@{state.step}: all {self.config.steps} steps are done; add, for example,"
                f" steps={2 * self.config.steps}"
            )


def _split(text: str) -> tuple[Path, int | None]:
    found = re.fullmatch(r"(.+)@(\d+)", text)
    if found is None or Path(text).exists():
        return RunDirectory.find(text), None
    return RunDirectory.find(found[1]), int(found[2])


def _check(before: Config, after: Config) -> None:
    old, new = (dict(_leaves(config.model_dump(mode="json"))) for config in (before, after))
    for key in [*new, *old]:
        reason = next((why for kept, why in KEPT.items() if key.startswith(kept) and not key.startswith(FREE)), None)
        if reason and old.get(key) != new.get(key):
            raise UserError(f"{key}: a fork cannot change it, because {reason}; start a new run for that")
    if algorithm(after.algorithm.name).has_critic and not algorithm(before.algorithm.name).has_critic:
        raise UserError(f"algorithm.name = {after.algorithm.name}: its critic has no state in the parent's checkpoint")


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _copy(source: Path, target: Path, length: int) -> None:
    """Copy the first bytes of a log."""
    with source.open("rb") as read, target.open("wb") as write:
        while length and (part := read.read(min(length, 1 << 20))):
            write.write(part)
            length -= len(part)
