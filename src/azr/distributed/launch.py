"""Starting the ranks of a run: by `azr train` itself on one machine, or by torchrun on any number of machines."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from azr.errors import UserError

if TYPE_CHECKING:
    from azr.distributed.group import Membership

_STORE = "AZR_LEARNER_STORE"
_JOIN = timedelta(minutes=10)


def torchrun_ranks() -> int | None:
    """Number of ranks that torchrun has started; None if this process was not started by torchrun."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else None


def is_follower() -> bool:
    """Whether torchrun has started this process, and as another rank than the first."""
    return torchrun_ranks() is not None and os.environ["RANK"] != "0"


class Followers:
    """The other ranks of a run on one machine, as child processes.

    Args:
        count: number of them.
        module: what they run: `python -m MODULE`.
    """

    def __init__(self, count: int, module: str) -> None:
        self.store = _tcp_store("127.0.0.1", 0, count + 1, is_master=True)
        size, port = count + 1, self.store.port
        os.environ.update(_environment(0, size, port))
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", module],
                env={**os.environ, **_environment(rank, size, port)},
                stdin=subprocess.DEVNULL,
            )
            for rank in range(1, size)
        ]

    def wait(self) -> None:
        """Wait until they have ended, and kill those that do not."""
        for process in self._processes:
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def kill(self) -> None:
        """End them at once."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()


def join_group(followers: Followers | None = None) -> Membership:
    """Join the group of ranks that this process's environment describes.

    Args:
        followers: started by this process, if any.

    Raises:
        UserError: the other ranks do not come.
    """
    from azr.distributed.group import join
    from azr.distributed.watch import PATIENCE

    try:
        return join(followers.store if followers else _store(), patience=PATIENCE)
    except RuntimeError as error:
        line = str(error).splitlines()[0]
        raise UserError(f"learner.processes: the ranks of the learner do not find each other: {line}") from error


def _store() -> Any | None:
    """The store of the process that started this one, or None for torchrun's."""
    if (address := os.environ.get(_STORE)) is None:
        return None
    host, _, port = address.rpartition(":")
    return _tcp_store(host, int(port), int(os.environ["WORLD_SIZE"]), is_master=False)


def _tcp_store(host: str, port: int, size: int, *, is_master: bool) -> Any:
    from torch import distributed as dist

    store: Any = dist.TCPStore  # type: ignore[attr-defined]
    return store(host, port, size, is_master=is_master, wait_for_workers=False, timeout=_JOIN)


def _environment(rank: int, size: int, port: int) -> Mapping[str, str]:
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    interface = os.environ.get("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    return {key: str(value) for key, value in ranks.items()} | {
        "GLOO_SOCKET_IFNAME": interface,
        _STORE: f"127.0.0.1:{port}",
    }
