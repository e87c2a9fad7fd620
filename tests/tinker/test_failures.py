"""What is said when a Tinker service cannot be used: one line with the cause and what to do."""

from __future__ import annotations

import asyncio
import sys

import pytest
import tinker

from azr.config import ModelConfig
from azr.errors import UserError
from azr.rollout.tinker.data import datum
from azr.rollout.tinker.service import TinkerService
from tests.tinker.fake import NAME, WRITTEN_FOR, serving
from tests.tinker.test_learner import model_of


async def enter(config: ModelConfig) -> None:
    async with TinkerService(config, seed=0):
        pass


def test_the_fake_was_written_for_this_client():
    assert tinker.__version__.startswith(f"{WRITTEN_FOR}."), "hold tests/tinker/fake.py against the new client's routes"


async def test_a_missing_key(monkeypatch):
    monkeypatch.delenv("TINKER_API_KEY")
    with pytest.raises(UserError, match="set TINKER_API_KEY"):
        await enter(ModelConfig(name="tinker:a"))


async def test_a_missing_client(monkeypatch):
    monkeypatch.setitem(sys.modules, "tinker", None)
    with pytest.raises(UserError, match=r"pip install 'azr\[tinker\]'"):
        await enter(ModelConfig(name="tinker:a"))


async def test_no_service_at_the_address():
    with pytest.raises(UserError, match=r"no Tinker service answers at http://127.0.0.1:9 .*model\.tinker\.url"):
        await enter(ModelConfig(name="tinker:a", tinker={"url": "http://127.0.0.1:9"}))


async def test_a_key_that_is_refused(folders, monkeypatch):
    monkeypatch.setenv("TINKER_API_KEY", "tml-other")
    with serving(folders["qwen2"]) as fake:
        refused = pytest.raises(UserError, match=r"refuses the key .*check TINKER_API_KEY")
        with refused:
            await enter(model_of(fake, folders["qwen2"]))


async def test_a_model_that_is_not_offered(folders):
    with serving(folders["qwen2"]) as fake:
        refused = pytest.raises(UserError, match=f"does not offer it for training; did you mean {NAME}")
        with refused:
            await enter(ModelConfig(name=f"tinker:{NAME}y", tinker={"url": fake.url}))


@pytest.mark.slow
@pytest.mark.parametrize("what", ["session", "silence", "refusal"])
async def test_a_service_that_fails_in_the_middle(folders, what):
    with serving(folders["qwen2"]) as fake:
        async with TinkerService(model_of(fake, folders["qwen2"], timeout_seconds=60), seed=0) as service:
            training = await service.training()
            if what == "session":
                fake.lose_sessions()
            elif what == "refusal":
                fake.before = lambda route, count: 422 if route == "forward_backward" else None
            else:
                service._config = model_of(fake, folders["qwen2"], timeout_seconds=0.3)
                fake.before = lambda route, count: 503 if route == "forward_backward" else None
            said = {
                "session": "no longer knows the session",
                "silence": r"gave no answer for 0\.3 s \(model\.tinker\.timeout_seconds\)",
                "refusal": "refuses a request",
            }[what]
            pending = training.forward([datum([1, 2], [3])], "cross_entropy")
            with pytest.raises(UserError, match=f"{said}.*azr train --resume RUN"):
                await service.done(pending)
            fake.before = lambda route, count: None
            if what == "silence":  # the client still repeats the request, and may connect while the service closes
                await asyncio.wrap_future(pending.future())


@pytest.mark.slow
async def test_the_adapter_is_downloaded_into_a_folder(folders, tmp_path):
    with serving(folders["qwen2"]) as fake:
        async with TinkerService(model_of(fake, folders["qwen2"]), seed=0) as service:
            await service.training()
            await asyncio.to_thread(service.export, tmp_path)
    assert (tmp_path / "adapter_model.safetensors").read_bytes() == b"weights"
