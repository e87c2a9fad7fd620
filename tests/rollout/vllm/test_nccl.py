"""What servers are told when weights go by NCCL. NCCL itself needs GPUs, and is not part of these tests."""

import base64
import threading
from collections.abc import Sequence

import pytest
import torch

from azr.errors import UserError
from azr.rollout.vllm.nccl import NCCLGroup, NCCLSync
from azr.rollout.vllm.pool import Pool
from azr.rollout.vllm.server import VLLMServer
from tests.rollout.vllm.fake import serving

WEIGHTS = [("a.weight", torch.zeros(2, 3)), ("b.bias", torch.ones(4, dtype=torch.bfloat16))]


class Meeting:
    """Stands where NCCL would be: notes what this side does, and does it only once every server was called."""

    def __init__(self, fakes, *, absent: bool = False) -> None:
        self.unique_id, self._fakes, self._absent = bytes(range(128)), fakes, absent
        self.ranks = 0
        self.sent: list[Sequence[torch.Tensor]] = []

    def join(self, ranks: int) -> None:
        self._wait("/init_weight_transfer_engine")
        self.ranks = ranks

    def broadcast(self, tensors: Sequence[torch.Tensor]) -> None:
        self._wait("/update_weights")
        self.sent.append(tensors)

    def _wait(self, route: str) -> None:
        if self._absent:
            threading.Event().wait(60)
        while not all(any(called == route for called, _ in fake.calls) for fake in self._fakes):
            threading.Event().wait(0.01)


def pool_of(fakes) -> Pool:
    return Pool([VLLMServer(f.url, key="", connections=4, attempts=1, timeout_seconds=30) for f in fakes])


async def test_every_worker_has_a_rank_and_receives_what_is_broadcast(folders):
    with serving(folders["qwen2"], count=3) as fakes:
        pool, meeting = pool_of(fakes), Meeting(fakes)
        sync = NCCLSync(lambda: meeting, timeout_seconds=30)
        await sync.send(pool, "run-1", iter(WEIGHTS))
        await pool.close()
    assert meeting.ranks == 4
    assert [tensor is sent for (_, tensor), sent in zip(WEIGHTS, meeting.sent[0], strict=True)] == [True, True]
    joined = [dict(fake.calls)["/init_weight_transfer_engine"]["init_info"] for fake in fakes]
    assert [info["rank_offset"] for info in joined] == [1, 2, 3]
    assert {info["world_size"] for info in joined} == {4}
    assert {base64.b64decode(info["nccl_unique_id_b64"]) for info in joined} == {meeting.unique_id}
    for fake in fakes:
        assert [route for route, _ in fake.calls] == [
            *("/pause", "/get_world_size", "/init_weight_transfer_engine", "/start_weight_update"),
            *("/update_weights", "/finish_weight_update", "/resume"),
        ]
        assert dict(fake.calls)["/update_weights"]["update_info"] == {
            "names": ["a.weight", "b.bias"],
            "dtype_names": ["float32", "bfloat16"],
            "shapes": [[2, 3], [4]],
        }
        assert fake.label == "run-1"


async def test_a_group_is_made_once_and_anew_when_a_server_is_lost(folders):
    with serving(folders["qwen2"], count=2) as fakes:
        pool, made = pool_of(fakes), []

        def make() -> Meeting:
            made.append(Meeting([fake for fake in fakes if not fake.dead]))
            return made[-1]

        sync = NCCLSync(make, timeout_seconds=30)
        await sync.send(pool, "run-1", iter(WEIGHTS))
        await sync.send(pool, "run-2", iter(WEIGHTS))
        assert [meeting.ranks for meeting in made] == [3]
        fakes[0].die()
        await sync.send(pool, "run-3", iter(WEIGHTS))
        assert [meeting.ranks for meeting in made] == [3, 2]
        assert fakes[1].label == "run-3"
        await pool.close()


async def test_servers_that_do_not_take_part_end_the_run_in_one_line(folders):
    with serving(folders["qwen2"]) as fakes:
        pool = pool_of(fakes)
        sync = NCCLSync(lambda: Meeting(fakes, absent=True), timeout_seconds=0.2)
        with pytest.raises(UserError, match="did not take part in NCCL"):
            await sync.send(pool, "run-1", iter(WEIGHTS))
        await pool.close()


def test_without_a_gpu_nccl_is_refused():
    with pytest.raises(UserError, match="sync = nccl needs the learner on a GPU, not on cpu; use sync=disk"):
        NCCLGroup(torch.device("cpu"))
