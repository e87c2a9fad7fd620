"""The settings for a model: those of its run, those of its preset, or defaults that suit any model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from azr import settings
from azr.config import Config
from azr.domains import registry
from azr.evals.models import locate
from azr.run.checkpoint import Checkpoints, read_buffer
from azr.run.directory import CONFIG, MODEL, RunDirectory

ANY_MODEL: dict[str, Any] = {
    "domain": {"name": "python"},
    "generation": {"max_prompt_tokens": 2048, "max_propose_tokens": 1024, "max_solve_tokens": 1024},
}
"""For a model without a run or preset: lengths that fit most contexts and do not take too long."""


def settle(model: str, assignments: Sequence[str], *, samples: int, seed: int | None) -> Config:
    """Build the configuration of a game.

    Args:
        model: a shipped model, hub name, folder, run, or a model on a server.
        assignments: overrides, KEY.SUB=VALUE.
        samples: attempts at each proposal of the person [n].
        seed: random seed; None for the configuration's.

    Raises:
        UserError: there is no such model or run, or an override is wrong.
    """
    tree = settings.override(_tree(model, run_of(model)), assignments)
    forced = {"batch_size": 1, "samples": samples, "solver_mix": "new_only", "learn_from_samples": True}
    tree["selfplay"] = {**tree.get("selfplay", {}), **forced, "train_proposer": True, "learn": False}
    if seed is not None:
        tree["seed"] = seed
    return settings.build(tree, registry.config_class, source=model)


def run_of(model: str) -> Path | None:
    """The run that a model belongs to, if `model` is a run's folder or the model inside one; else None."""
    path = Path(model)
    if (path / CONFIG).is_file():
        return path
    inside = path.name == MODEL and (path.parent / CONFIG).is_file()
    return path.parent if inside else None


def buffer_of(run: Path | None) -> list[str] | None:
    """Lines of the task buffers in a run's newest checkpoint; None without a run or checkpoint."""
    checkpoint = Checkpoints(run, keep=1).newest() if run is not None else None
    return read_buffer(checkpoint) if checkpoint is not None else None


def _tree(model: str, run: Path | None) -> settings.Tree:
    if run is None:
        presets = map(settings.read, settings.presets())
        tree = next((preset for preset in presets if preset["model"]["name"] == model), ANY_MODEL)
        return {**tree, "model": {**tree.get("model", {}), "name": model}}
    tree = RunDirectory.open(run).tree()
    if tree["selfplay"].get("learn", True):  # else nothing was trained, and the model is the one in the configuration
        tree["model"] |= {"name": locate(str(run)), "quantization": "none"}
        tree["model"].pop("lora", None)  # merged into the exported weights
    return tree
