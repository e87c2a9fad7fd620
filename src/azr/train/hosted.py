"""Builds the parts of a run whose model is trained and sampled by a Tinker service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azr.domains import registry
from azr.export.model_card import write_card
from azr.learn.tinker import TinkerLearner
from azr.models.load import load_text
from azr.rollout.tinker.generator import TinkerGenerator
from azr.rollout.tinker.service import TinkerService
from azr.train.start import check_lengths
from azr.train.training import TrainingParts

if TYPE_CHECKING:
    from azr.config import Config
    from azr.sandbox.base import Sandbox


@asynccontextmanager
async def hosted_parts(config: Config, sandbox: Sandbox) -> AsyncIterator[TrainingParts]:
    """The parts of a run over one session, which ends with the context.

    Raises:
        UserError: see `TinkerService`; or the model's context is too short for the configured lengths.
    """
    learns = config.selfplay.learn
    async with TinkerService(config.model, seed=config.seed) as service:
        check_lengths(config, service.context)
        own = config.model.tokenizer
        tokenizer = None if own else await service.tokenizer(learns=learns)
        text = load_text(own or config.model.name, tokenizer, context=service.context)

        def export(folder: Path, summary: Any) -> None:
            folder.mkdir(parents=True, exist_ok=True)
            service.export(folder)
            text.tokenizer.save_pretrained(folder)
            write_card(folder, config, summary)

        yield TrainingParts(
            domain=registry.make_domain(config.domain, config.sandbox),
            generator=TinkerGenerator(service, text, config.generation, seed=config.seed, learns=learns),
            learner=_learner(config, service) if learns else None,
            sandbox=sandbox,
            render=text.renderer(chat=config.domain.style == "chat"),
            export=export if learns else None,
        )


def _learner(config: Config, service: TinkerService) -> TinkerLearner:
    return TinkerLearner(service, config.learner, config.algorithm, total_steps=config.steps, seed=config.seed)
