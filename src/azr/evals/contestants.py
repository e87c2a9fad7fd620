"""What `azr eval` compares: models, the benchmark's own answers, and broken answers that must score nothing."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Literal

from azr.config import ModelConfig
from azr.errors import UserError
from azr.evals import models
from azr.evals.answerers import Answerer, ModelAnswerer, broken_answerer, gold_answerer
from azr.evals.harness import Settings
from azr.evals.templates import Template
from azr.evals.variants import VARIANTS


@dataclass(frozen=True, slots=True)
class Contestant:
    """A column of the table.

    Attributes:
        title: heading of the column.
        kind: who writes the answers.
        source: the model's folder or hub name, or the variant's name.
    """

    title: str
    kind: Literal["model", "gold", "broken"]
    source: str

    @property
    def identity(self) -> str:
        """Identifies it in the header of its completions; changes with a model's files."""
        return models.identity(self.source) if self.kind == "model" else f"{self.kind}:{self.source}"

    @property
    def folder(self) -> str:
        """Name of the folder of its completions."""
        return re.sub(r"[^\w.-]+", "_", self.title if self.kind == "model" else f"{self.kind}-{self.source}").strip("_")


def contestants(names: Sequence[str], *, gold: bool, broken: Sequence[str]) -> list[Contestant]:
    """The contestants of a request.

    Raises:
        UserError: there are none, two have the same name, or a model or variant does not exist.
    """
    found = [Contestant(name, "model", models.locate(name)) for name in names]
    if gold:
        found.append(Contestant("gold", "gold", "gold"))
    for name in VARIANTS if "all" in broken else broken:
        if name not in VARIANTS:
            raise UserError(f"--broken {name}: no such variant; there are all, {', '.join(VARIANTS)}")
        found.append(Contestant(name, "broken", name))
    if not found:
        raise UserError("azr eval takes at least one model, or --gold, or --broken NAME")
    if len({contestant.folder for contestant in found}) < len(found):
        raise UserError("two models have the same name; name each model once, or by paths that differ")
    return found


@asynccontextmanager
async def answering(
    contestant: Contestant, template: Template, config: ModelConfig, settings: Settings
) -> AsyncIterator[tuple[Answerer, Template]]:
    """The contestant's answerer, and the template with the model's chat template; a model is freed afterwards.

    Raises:
        UserError: the model cannot be loaded, or its server does not answer.
    """
    if contestant.kind == "gold":
        yield gold_answerer(template), template
    elif contestant.kind == "broken":
        yield broken_answerer(template, VARIANTS[contestant.source]), template
    elif models.is_served(contestant.source):
        from azr.rollout.endpoint import EndpointGenerator

        model = config.model_copy(update={"name": contestant.source})
        async with EndpointGenerator(model, chat=settings.template == "chat", seed=settings.seed) as generator:
            # The server applies its chat template.
            yield ModelAnswerer(generator, settings.sampling, generator.render), template
    else:
        answerer, chat = models.open_model(contestant.source, config, settings)
        yield answerer, replace(template, chat=chat)
