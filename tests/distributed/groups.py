"""Groups of real processes that learn together over gloo, for tests."""

from __future__ import annotations

import os
import pickle
import socket
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.runs import forkserver

forkserver.set_forkserver_preload(["azr.train.start", "azr.learn.learner", "azr.distributed.shards", "azr.models.load"])


def together(size: int, sharding: str, work: Callable[..., Any], *arguments: Any, fails: bool = False) -> list[Any]:
    """What `work(ranks, *arguments)` returns on each rank, by rank. With one process it gets `ALONE`.

    With `fails` all of the processes must fail, and nothing is returned.
    """
    with TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        processes = [
            forkserver.Process(target=_rank, args=(rank, size, port, sharding, folder, work, arguments))
            for rank in range(size)
        ]
        for process in processes:
            process.start()
        end = time.monotonic() + 200
        for process in processes:  # ranks that wait for each other all end here, not one after the other
            process.join(timeout=max(0.0, end - time.monotonic()))
        codes = [process.exitcode for process in processes]
        for process in processes:
            process.kill()
        if fails:
            assert None not in codes
            assert 0 not in codes
            return []
        assert codes == [0] * size
        return [pickle.loads((folder / str(rank)).read_bytes()) for rank in range(size)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def _rank(rank, size, port, sharding, folder, work, arguments) -> None:
    import torch

    torch.set_num_threads(1)
    result = work(make_ranks(rank, size, port, sharding), *arguments)
    (folder / str(rank)).write_bytes(pickle.dumps(result))
    if size > 1:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def make_ranks(rank: int, size: int, port: int, sharding: str) -> Any:
    from azr.learn.ranks import ALONE

    if size == 1:
        return ALONE
    from datetime import timedelta

    from torch.distributed import TCPStore

    from azr.distributed.group import Replicas, join
    from azr.distributed.shards import Shards

    environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    os.environ |= {name: str(value) for name, value in environment.items()} | {"GLOO_SOCKET_IFNAME": "lo"}
    store = TCPStore("127.0.0.1", port, size, is_master=rank == 0, timeout=timedelta(seconds=60))
    return {"sharded": Shards, "replicated": Replicas}[sharding](join(store, patience=50))
