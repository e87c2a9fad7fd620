"""`azr export RUN`: the newest checkpoint as a Hugging Face folder, as `RUN/model` is after a run."""

import asyncio
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from azr.config import Config
from azr.errors import UserError
from azr.export.model_card import write_card
from azr.models import shipped
from azr.rollout.tinker.state import STATE
from azr.rollout.tinker.state import read_state as read_tinker_state
from azr.run.checkpoint import Checkpoints, State, advice, read_state
from azr.run.directory import METRICS, MODEL, RunDirectory, explained, read_jsonl


def export_model(run: Path, to: Path, repository: str | None = None) -> int:
    """Write the model of a run's newest checkpoint, with any adapter merged into it, and its card to a new folder.

    Of a model on a Tinker service, the adapter is downloaded.

    The run may still be training. The card names the `repository` on the hub, if there is one. Returns the step of the
    checkpoint.

    Raises:
        UserError: the run does not exist or has no model yet, or the folder exists.
    """
    config = RunDirectory.open(run).config()
    checkpoint = Checkpoints(run, keep=config.checkpoint.keep).newest()
    hosted = config.model.hosted is not None
    if checkpoint is None or not (checkpoint / (STATE if hosted else MODEL)).exists():
        raise UserError(f"{run}: no checkpoint with a model yet, so there is nothing to export")
    state = read_state(checkpoint)
    with new_folder(to) as partial:
        if hosted:
            asyncio.run(_download(config, checkpoint, partial))
        elif config.model.lora.rank:
            from azr.models.load import load_model

            policy = load_model(config.model.model_copy(update={"name": shipped.resolve(config.model.name)}))
            policy.restore(checkpoint / MODEL)
            policy.export(partial)  # merges the adapter
        else:
            _check_weights(checkpoint)
            shutil.copytree(checkpoint / MODEL, partial, dirs_exist_ok=True)
        write_card(partial, config, _summary(run, state), repository)
    return state.step


def _check_weights(checkpoint: Path) -> None:
    """Refuse weights that are missing or cut off, which a copy would pass on.

    Raises:
        UserError: there are none, or a file of them is not whole.
    """
    from safetensors import SafetensorError, safe_open

    files = sorted((checkpoint / MODEL).glob("*.safetensors"))
    if not files:
        raise UserError(f"{checkpoint / MODEL}: cannot be read (no weights there); {advice(checkpoint)}")
    for file in files:
        try:
            with safe_open(file, "np"):
                pass
        except SafetensorError as error:
            raise UserError(f"{file}: cannot be read ({error}); {advice(checkpoint)}") from None


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Create a folder atomically: yields a temporary folder, which is renamed at the end.

    Raises:
        UserError: the folder exists and is not empty, or the disk is full or not writable.
    """
    with explained(folder, remedy="name another folder, or make it writable"):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder}: exists already; name another folder, or move this one away")
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(mkdtemp(prefix=".partial-", dir=folder.parent))
        partial.chmod(0o755)
        try:
            yield partial
            if folder.exists():  # and is empty; it is removed before the rename
                folder.rmdir()
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


async def _download(config: Config, checkpoint: Path, folder: Path) -> None:
    """Let the Tinker service load the state of a checkpoint, and download its adapter."""
    from azr.rollout.tinker.service import TinkerService

    async with TinkerService(config.model, seed=config.seed) as service:
        path = read_tinker_state(checkpoint)["path"]
        await asyncio.to_thread(service.restore, path, optimizer=False)
        await asyncio.to_thread(service.export, folder)


def _summary(run: Path, state: State) -> Mapping[str, Any]:
    """Held-out accuracy for the card: before training, and after if it was measured at this step."""
    lines = (line for line in read_jsonl(run / METRICS) if line["step"] == state.step > 0)
    measured = [line["held_out"] for line in lines if "held_out" in line]
    return {"steps": state.step, "before": state.before, "after": measured[-1] if measured else {}}
