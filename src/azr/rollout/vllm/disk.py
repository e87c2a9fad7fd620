"""New weights by way of a folder that the servers can read."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from azr.errors import UserError
from azr.rollout.vllm.pool import Pool
from azr.rollout.vllm.server import VLLMServer

if TYPE_CHECKING:
    from torch import Tensor

_FILE_BYTES = 4 * 2**30


class DiskSync:
    """Writes a folder of safetensors files and has every server load it.

    Args:
        parent: where the folders are made; None: in a temporary folder.
    """

    def __init__(self, parent: Path | None) -> None:
        self._parent, self._temporary = parent, parent is None
        self._previous: Path | None = None

    async def send(self, pool: Pool, label: str, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Give all servers new weights: all have them, or are lost, when this returns.

        Args:
            pool: the servers.
            label: what they call the weights from now on.
            tensors: the weights by their names in a Hugging Face folder.

        Raises:
            UserError: the folder cannot be written, a server cannot read it, or no server is left.
        """
        try:
            if self._parent is None:
                self._parent = Path(tempfile.mkdtemp(prefix="azr-weights-"))
            folder = (self._parent / label).absolute()
            await asyncio.to_thread(_write, folder, tensors)
        except OSError as error:
            raise UserError(f"generation.weights_folder: weights cannot be written ({error})") from error

        async def load(server: VLLMServer) -> None:
            await server.call("/pause?mode=wait&clear_cache=true")
            try:
                request = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
                await server.call("/collective_rpc", request)
                await server.call("/update_weight_version", {"new_version": label})
            except UserError as error:
                raise UserError(
                    f"{error}; if it cannot read {folder}, set generation.weights_folder to a folder that it shares"
                ) from error
            finally:
                await server.call("/resume")

        await pool.with_each(load, lost=True)
        if self._previous is not None and self._previous != folder:
            await asyncio.to_thread(shutil.rmtree, self._previous, ignore_errors=True)
        self._previous = folder

    async def close(self) -> None:
        """Remove what was written. Safe to call twice."""
        written = self._parent if self._temporary else self._previous
        if written is not None:
            await asyncio.to_thread(shutil.rmtree, written, ignore_errors=True)


def _write(folder: Path, tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Write a folder, which is whole or absent: servers on other machines may look before it is complete."""
    from safetensors.torch import save_file

    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for number, part in enumerate(_parts(tensors), start=1):
        save_file(part, unfinished / f"model-{number:05d}.safetensors", metadata={"format": "pt"})
    unfinished.rename(folder)


def _parts(tensors: Iterable[tuple[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    """Groups of tensors of a few GB, each a copy on the CPU: only one group needs memory at a time."""
    part: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors:
        copy = tensor.detach().to("cpu", copy=True).contiguous()  # tied tensors share memory, which files cannot
        part[name], size = copy, size + copy.nbytes
        if size >= _FILE_BYTES:
            yield part
            part, size = {}, 0
    if part:
        yield part
