"""The taskset: each row asks for one episode of a kind; the tasks themselves are proposed."""

from collections.abc import Iterator
from typing import Self

import verifiers.v1 as vf
from pydantic import Field, model_validator

from azr import settings
from azr.config import Config, SearchConfig
from azr.domains import registry
from azr.errors import UserError

FORCED = {
    "batch_size": 1,
    "learn": True,
    "learn_from_samples": True,
    "seed_file": None,
    "solver_mix": "new_only",
    "train_proposer": True,
}
"""Settings of self-play in an episode: one proposal, whose attempts are learnt from."""


class SelfPlayTasksetConfig(vf.TasksetConfig):
    """What is played.

    Attributes:
        preset: a preset of azr or a TOML file; of its sections, `domain`, `selfplay`, `buffer`, `rewards`, `generation`
            (the longest prompt) and `sandbox` are used.
        overrides: settings on top of it, such as "domain.name=primes".
        rows: number of rows; each is one episode, and the kinds take turns.
        database: the file of the task buffer, shared by all processes that name it.
    """

    preset: str = "paper"
    overrides: list[str] = Field(default_factory=list)
    rows: int = Field(1024, ge=1)
    database: str = "azr-buffer.sqlite"

    @model_validator(mode="after")
    def _settings_are_valid(self) -> Self:
        try:
            azr_config(self)
        except UserError as error:  # as a ValueError, vf-eval shows it in its own form, without a traceback
            raise ValueError(str(error)) from error
        return self


class SlotData(vf.TaskData):
    """A row: the kind of task to propose."""

    kind: str


class Slot(vf.Task[SlotData]):
    """A row of the taskset."""


class SelfPlayTaskset(vf.Taskset[Slot, SelfPlayTasksetConfig]):
    """Rows that ask for an episode each."""

    def load(self) -> Iterator[Slot]:
        """The rows, whose kinds take turns."""
        kinds = azr_config(self.config).domain.kinds
        for index in range(self.config.rows):
            kind = kinds[index % len(kinds)]
            yield Slot(SlotData(kind=kind, name=f"{kind} {index}"), self.config.task)


def azr_config(config: SelfPlayTasksetConfig) -> Config:
    """The settings of azr.

    Raises:
        UserError: the preset or an override is wrong, or its style does not suit a chat endpoint.
    """
    tree = settings.override(settings.read(config.preset), ["domain.style=chat", *config.overrides])
    tree["selfplay"] = tree.get("selfplay", {}) | FORCED
    found = settings.build(tree, registry.config_class, source=config.preset)
    if found.domain.style == "r1":
        raise UserError("domain.style = r1 is for base models; a chat endpoint needs chat or compact")
    if found.selfplay.search != SearchConfig() or found.rewards.progress.coefficient:
        raise UserError("selfplay.search and rewards.progress are for azr train; leave them out here")
    return found
