"""The optimizer's state in a checkpoint to which every rank adds its part, and which any number of ranks can read.

It is written by `torch.distributed.checkpoint`, with one entry per parameter and tensor: `NAME/exp_avg`, `NAME/master`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from azr.learn.optimizer import Optimizer, local

_MASTER = "master"


def write(folder: Path, names: Sequence[str], optimizer: Optimizer, group: Any) -> None:
    """Write the state of sharded weights; all ranks call this together.

    Args:
        folder: to create.
        names: of the parameters, in the optimizer's order.
        optimizer: of sharded weights.
        group: the process group of all ranks, on the CPU.

    Raises:
        OSError: the disk is full or not writable, on any rank.
    """
    from torch.distributed.checkpoint.state_dict_saver import save

    state = optimizer.state()
    entries: dict[str, Any] = {}
    for i, (name, parameter) in enumerate(zip(names, optimizer.parameters, strict=True)):
        parts = {**state["adam"]["state"].get(i, {}), _MASTER: state["masters"][i]}
        entries |= {f"{name}/{key}": _global(part, parameter) for key, part in parts.items() if part is not None}
    with _first_cause():
        save(entries, checkpoint_id=folder, process_group=group)


def read(folder: Path, names: Sequence[str], optimizer: Optimizer, group: Any) -> dict[str, Any]:
    """What `Optimizer.restore` takes, for this rank's part of the weights or for whole weights.

    Args:
        folder: that `write` wrote, on any number of ranks.
        names: of the parameters, in the optimizer's order.
        optimizer: to restore; sharded or not.
        group: the process group of all ranks, which read together; None: this process reads alone.

    Raises:
        OSError, KeyError, ValueError: it is not there, or of other weights.
    """
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.state_dict_loader import load

    saved = FileSystemReader(folder).read_metadata().state_dict_metadata
    parameters = dict(zip(names, optimizer.parameters, strict=True))
    entries: dict[str, Any] = {}
    for key, about in saved.items():
        name = key.rpartition("/")[0]
        if name not in parameters:
            raise ValueError(f"{name} is not a weight that learns")
        size = torch.Size(getattr(about, "size", ()))
        entries[key] = _empty(size, parameters[name])
    with warnings.catch_warnings(), _first_cause():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # as it should be in one process
        load(entries, checkpoint_id=folder, process_group=group, no_dist=group is None)
    found: dict[str, dict[str, Tensor]] = {name: {} for name in names}
    for key, tensor in entries.items():
        name, _, leaf = key.rpartition("/")
        found[name][leaf] = local(tensor)
    masters = [found[name].pop(_MASTER, None) for name in names]
    moments = {i: found[name] for i, name in enumerate(names) if found[name]}
    return {"adam": {**optimizer.state()["adam"], "state": moments}, "masters": masters}


@contextmanager
def _first_cause() -> Iterator[None]:
    """Raise what went wrong on the first rank that failed, instead of torch's summary of all ranks."""
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        yield
    except CheckpointException as error:
        _, (cause, _) = min(error.failures.items())
        raise cause from error


def _global(part: Tensor, parameter: Any) -> Any:
    """A rank's part of a tensor that is sharded as its parameter is; a single number as it is."""
    from torch.distributed.tensor import DTensor

    if not part.dim():
        return part
    mesh = parameter.device_mesh
    size, stride = parameter.shape, parameter.stride()
    return DTensor.from_local(part, mesh, parameter.placements, run_check=False, shape=size, stride=stride)


def _empty(size: torch.Size, parameter: Any) -> Any:
    """Room for a saved float32 tensor, or for this rank's part of it."""
    if not size or not hasattr(parameter, "to_local"):
        return torch.zeros(size, dtype=torch.float32)
    return _global(torch.zeros_like(local(parameter), dtype=torch.float32), parameter)
