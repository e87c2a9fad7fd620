"""New weights by NCCL, from the learner's GPU to the servers', through vLLM's weight-transfer routes.

Written against vLLM 0.32 (`vllm/distributed/weight_transfer`), and not run on GPUs by us. The learner is rank 0 of a
group in which every GPU of every server has a rank of its own. It joins through torch, so vLLM is not needed here; the
two builds of NCCL must be able to talk to each other.
"""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from azr.concurrency import gather
from azr.errors import UserError
from azr.rollout.vllm.pool import Pool
from azr.rollout.vllm.server import VLLMServer

if TYPE_CHECKING:
    from torch import Tensor, device


class Group(Protocol):
    """A group of ranks whose root is here."""

    unique_id: bytes

    def join(self, ranks: int) -> None:
        """Meet the other ranks; blocks until all are there."""
        ...

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Send tensors to all other ranks, one after the other; blocks until they are sent."""
        ...


class NCCLGroup:
    """A group over torch's own NCCL.

    Args:
        where: the GPU that the weights are on.

    Raises:
        UserError: there is no GPU.
    """

    def __init__(self, where: device) -> None:
        import torch

        if where.type != "cuda":
            raise UserError(f"generation.sync = nccl needs the learner on a GPU, not on {where.type}; use sync=disk")
        self._torch, self._device, self._communicator = torch, where, None
        self.unique_id = bytes(torch.cuda.nccl.unique_id())  # type: ignore[no-untyped-call]

    def join(self, ranks: int) -> None:
        """Meet the servers' workers, which add up one number each as soon as they have joined."""
        nccl = self._torch.cuda.nccl
        with self._torch.cuda.device(self._device):
            self._communicator = nccl.init_rank(ranks, self.unique_id, 0)
            nccl.all_reduce([self._torch.zeros(1, device=self._device)], comms=[self._communicator])
            self._torch.cuda.synchronize(self._device)

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Send tensors in their order."""
        with self._torch.cuda.device(self._device):
            for tensor in tensors:
                self._torch.cuda.nccl.broadcast([tensor.detach().contiguous()], comms=[self._communicator])
            self._torch.cuda.synchronize(self._device)


class NCCLSync:
    """Broadcasts weights to all servers at once.

    Args:
        make_group: makes a fresh group; NCCL cannot go on with one that lost a rank.
        timeout_seconds: longest wait for the servers to join or to receive.
    """

    def __init__(self, make_group: Callable[[], Group], *, timeout_seconds: float) -> None:
        self._make_group, self._seconds = make_group, timeout_seconds
        self._group: Group | None = None
        self._members: tuple[VLLMServer, ...] = ()

    async def send(self, pool: Pool, label: str, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Give all servers new weights: all have them when this returns (see `DiskSync.send`).

        Raises:
            UserError: a server was lost meanwhile, refuses, or does not receive in time.
        """
        named = list(tensors)
        pausing: list[VLLMServer] = []

        async def pause(server: VLLMServer) -> None:
            await server.call("/pause?mode=wait&clear_cache=true")
            pausing.append(server)

        await pool.with_each(pause, lost=True)
        servers = tuple(server for server in pool.servers if server in pausing)
        if self._group is None or servers != self._members:
            await self._join(servers)
        await self._broadcast(servers, named)
        await gather(server.call("/finish_weight_update", {"weight_version": label}) for server in servers)
        await gather(server.call("/resume") for server in servers)

    async def close(self) -> None:
        """Dismiss the group. Safe to call twice."""
        self._group = None

    async def _join(self, servers: Sequence[VLLMServer]) -> None:
        """Make a group in which every worker of every server has a rank, from 1."""
        sizes = [(await server.get("/get_world_size"))["world_size"] for server in servers]
        group = self._make_group()
        shared = {
            "nccl_unique_id_b64": base64.b64encode(group.unique_id).decode(),
            "world_size": 1 + sum(sizes),
            "packed": False,
        }
        calls = [
            server.call("/init_weight_transfer_engine", {"init_info": shared | {"rank_offset": 1 + sum(sizes[:index])}})
            for index, server in enumerate(servers)
        ]
        await self._together(calls, lambda: group.join(1 + sum(sizes)))
        self._group, self._members = group, tuple(servers)

    async def _broadcast(self, servers: Sequence[VLLMServer], named: Sequence[tuple[str, Tensor]]) -> None:
        group = self._group
        assert group is not None
        await gather(server.call("/start_weight_update") for server in servers)
        update = {
            "names": [name for name, _ in named],
            "dtype_names": [str(tensor.dtype).removeprefix("torch.") for _, tensor in named],
            "shapes": [list(tensor.shape) for _, tensor in named],
        }
        calls = [server.call("/update_weights", {"update_info": update}) for server in servers]
        await self._together(calls, lambda: group.broadcast([tensor for _, tensor in named]))

    async def _together(self, calls: Sequence[Any], work: Callable[[], None]) -> None:
        """Call the servers while this process does its own part: each side waits for the other inside NCCL."""
        try:
            async with asyncio.timeout(self._seconds):
                await gather([*calls, _in_daemon(work)])
        except TimeoutError:
            self._group = None
            raise UserError(
                f"the servers did not take part in NCCL within {self._seconds:.0f} s; look into their logs, and"
                " continue with azr train --resume RUN"
            ) from None


async def _in_daemon(work: Callable[[], None]) -> None:
    """Run in a thread that the process does not wait for when it ends: NCCL may never return."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if not done.done():
            done.set_exception(error) if error else done.set_result(None)

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as failure:
            error = failure
        with suppress(RuntimeError):  # the loop is closed: the run gave up waiting, and has ended
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name="azr-nccl", daemon=True).start()
    await done
