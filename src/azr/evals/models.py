"""Models as users name them: a hub name, a folder, a run's folder, a shipped model, or a served model."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from azr.config import GenerationConfig, ModelConfig, served
from azr.errors import UserError
from azr.evals.answerers import ModelAnswerer
from azr.evals.harness import Settings
from azr.models import shipped
from azr.models.threads import threads
from azr.run.directory import CONFIG, MODEL, RunDirectory


def locate(name: str) -> str:
    """Where a model is loaded from: a folder or a hub name; the name of a served model is returned unchanged.

    Raises:
        UserError: it is a run without a model.
    """
    if is_served(name):
        return name
    path = Path(name)
    if not (path / CONFIG).is_file():
        return shipped.resolve(name)
    if not (path / MODEL / "config.json").is_file():
        raise UserError(
            f"{name}: this run has no {MODEL}/ yet; finish it with azr train --resume {name}, or export its newest"
            f" checkpoint with azr export {name}"
        )
    return str(path / MODEL)


def is_served(name: str) -> bool:
    """Whether the model is on a server.

    Raises:
        UserError: the address in its name is invalid, or contains a key.
    """
    try:
        return served(name) is not None
    except ValueError as error:
        raise UserError(str(error)) from None


def played(names: Sequence[str], domain: str) -> dict[str, Any]:
    """The domain settings of the first run among the models that played this domain; empty if there is none."""
    for name in names:
        if not is_served(name) and (Path(name) / CONFIG).is_file():
            section: dict[str, Any] = RunDirectory.open(Path(name)).tree().get("domain", {})
            if section.get("name") == domain:
                return section
    return {}


def identity(source: str) -> str:
    """Identifies a model with its weights: for a folder, it changes with the files."""
    path = Path(source)
    if not path.is_dir():
        return source
    files = sorted(file for file in path.iterdir() if file.is_file())
    words = "".join(f"{file.name}:{file.stat().st_size}:{file.stat().st_mtime_ns}\n" for file in files)
    return f"{path.resolve()}@{hashlib.sha256(words.encode()).hexdigest()[:12]}"


def open_model(source: str, config: ModelConfig, settings: Settings) -> tuple[ModelAnswerer, Callable[[str], str]]:
    """Load a model as an answerer; also returns the function that applies its chat template to a message.

    Raises:
        UserError: the model cannot be loaded.
    """
    import torch

    from azr.models.load import load_model
    from azr.rollout.local.generator import LocalGenerator

    policy = load_model(config.model_copy(update={"name": source}))
    torch.set_num_threads(threads(policy.model.num_parameters()))
    context = policy.context_length or 2**17
    # The generator's own temperature is not used here: each call of `sample` passes its own.
    generator = LocalGenerator(policy, GenerationConfig(max_prompt_tokens=context), seed=settings.seed)
    return ModelAnswerer(generator, settings.sampling, policy.renderer(chat=False), context), policy.chat
