"""The generator over vLLM servers: what it samples, from which weights, and how they get there."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from azr.config import Config
from azr.errors import UserError
from azr.rollout.base import Sampling
from azr.train.serving import make_vllm_generator, scorer
from azr.train.start import resolve
from tests.rollout.vllm.fake import serving

HOT = Sampling(12, temperature=0.7)


def config(urls, *words: str) -> Config:
    limits = ["generation.max_prompt_tokens=200", "generation.temperature=0.7"]
    listed = ",".join(url if isinstance(url, str) else url.url for url in urls)
    return resolve("demo", [f"generation.urls={listed}", "model.name=unused", *limits, *words])


@asynccontextmanager
async def opened(policy, fakes, *words: str):
    async with make_vllm_generator(config(fakes, *words), policy) as generator:
        yield generator


def nudge(policy, seed: int = 0) -> None:
    """Move all weights a little, as an update does."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in policy.model.parameters():
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=rng))


async def differences(policy, samples) -> list[float]:
    """By how much each sample's log-probabilities differ from the learner's, at most."""
    score = scorer(policy, temperature=0.7)
    own = [await score(sample.prompt_ids, sample.completion_ids) for sample in samples]
    return [float(np.abs(np.subtract(s.logprobs, o)).max()) for s, o in zip(samples, own, strict=True)]


@pytest.mark.parametrize("scale_out", [True, False], ids=["generate", "completions"])
async def test_samples_are_tokens_with_the_learners_logprobs(policy, folders, scale_out):
    with serving(folders["qwen2"], scale_out=scale_out) as fakes:
        async with opened(policy, fakes) as generator:
            prompt = policy.renderer(chat=False)("task 1:")
            samples = await generator.sample(prompt, n=4, key="1/solve/deduction/0000", sampling=HOT)
    assert max(await differences(policy, samples)) < 1e-5
    for sample in samples:
        assert sample.prompt_ids == prompt.token_ids
        assert sample.text == policy.decode(sample.completion_ids)
        assert sample.finished == (sample.completion_ids[-1] in policy.eos_ids)
        assert len(sample.completion_ids) == 12 or sample.finished
        assert sample.version == 0


async def test_both_routes_draw_the_same_tokens(policy, folders):
    drawn = []
    for scale_out in (True, False):
        with serving(folders["qwen2"], scale_out=scale_out) as fakes:
            async with opened(policy, fakes) as generator:
                samples = await generator.sample(policy.renderer(chat=False)("task:"), n=3, key="k", sampling=HOT)
                drawn.append([sample.completion_ids for sample in samples])
    assert drawn[0] == drawn[1]


async def test_every_row_has_a_seed_of_its_own_that_its_key_decides(policy, folders):
    with serving(folders["qwen2"]) as [fake]:
        async with opened(policy, [fake]) as generator:
            prompt = policy.renderer(chat=False)("task:")
            rows = {
                (key, n): await generator.sample(prompt, n=n, key=key, sampling=HOT)
                for key, n in (("a", 3), ("a", 2), ("b", 3))
            }
        seeds = [how["seed"] for how in fake.drawn]
    ids = {of: [sample.completion_ids for sample in samples] for of, samples in rows.items()}
    assert ids["a", 2] == ids["a", 3][:2]
    assert len({*ids["a", 3], *ids["b", 3]}) == 6
    assert None not in seeds


async def test_rows_are_shared_by_outstanding_requests(policy, folders):
    with serving(folders["qwen2"], count=3) as fakes:
        async with opened(policy, fakes) as generator:
            prompt = policy.renderer(chat=False)("task:")
            await generator.sample(prompt, n=1, key="first", sampling=HOT)  # after which weights are there
            before = [len(fake.drawn) for fake in fakes]
            await asyncio.gather(*(generator.sample(prompt, n=4, key=str(i), sampling=HOT) for i in range(9)))
            shares = [len(fake.drawn) - count for fake, count in zip(fakes, before, strict=True)]
    assert sum(shares) == 36
    assert max(shares) <= 4 * 5


async def test_all_servers_have_new_weights_before_the_next_sample(policy, folders):
    with serving(folders["qwen2"], count=2) as fakes:
        async with opened(policy, fakes) as generator:
            prompt = policy.renderer(chat=False)("task:")
            await generator.sample(prompt, n=2, key="0", sampling=HOT)
            nudge(policy)
            await generator.update_weights(1, policy.model.state_dict())
            labels = {fake.label for fake in fakes}
            samples = await generator.sample(prompt, n=2, key="1", sampling=HOT)
            more = await generator.sample(prompt, n=2, key="2", sampling=HOT)
        states = [fake.model.state_dict() for fake in fakes]
    assert len(labels) == 1
    assert labels.pop().endswith("-1")
    assert {sample.version for sample in (*samples, *more)} == {1}
    assert max(await differences(policy, [*samples, *more])) < 1e-5
    for state in states:
        assert all(torch.equal(state[name], tensor) for name, tensor in policy.model.state_dict().items())


async def test_weights_are_changed_only_while_the_server_is_paused(policy, folders):
    with serving(folders["qwen2"]) as [fake]:
        async with opened(policy, [fake]) as generator:
            await generator.update_weights(3, policy.model.state_dict())
        routes = [route for route, _ in fake.calls]
    assert routes[1:] == ["/pause", "/collective_rpc", "/update_weight_version", "/resume"]


async def test_folders_of_weights_are_removed_once_they_are_replaced(policy, folders, tmp_path):
    with serving(folders["qwen2"]) as [fake]:
        async with opened(policy, [fake], f"generation.weights_folder={tmp_path}") as generator:
            await generator.update_weights(1, policy.model.state_dict())
            await generator.update_weights(2, policy.model.state_dict())
            left = [path.name for path in tmp_path.iterdir()]
            assert len(left) == 1
            assert left[0].endswith("-2")
    assert [*tmp_path.iterdir()] == []


async def test_the_probe_stops_a_run_whose_server_keeps_its_old_weights(policy, folders):
    with serving(folders["qwen2"], loads=False) as [fake]:
        async with opened(policy, [fake]) as generator:
            await generator.update_weights(0, policy.model.state_dict())  # those that it was started with
            nudge(policy)
            with pytest.raises(UserError, match="does not sample from weights 1") as error:
                await generator.update_weights(1, policy.model.state_dict())
    assert "\n" not in str(error.value)
    assert "generation.probe_tolerance" in str(error.value)


async def test_the_probe_finds_logprobs_at_another_temperature(policy, folders):
    with serving(folders["qwen2"], logprobs_mode="raw_logprobs") as [fake]:
        generator = make_vllm_generator(config([fake]), policy)  # not met, which would tell
        with pytest.raises(UserError, match="does not sample from weights 0"):
            await generator.update_weights(0, policy.model.state_dict())
        await generator.__aexit__(None, None, None)


async def test_a_lora_is_merged_for_the_servers(folders):
    pytest.importorskip("peft")
    from azr.config import LoRAConfig, ModelConfig
    from azr.models.load import load_model

    policy = load_model(ModelConfig(name=str(folders["qwen2"]), device="cpu", lora=LoRAConfig(rank=4)))
    nudge(policy)
    with serving(folders["qwen2"]) as fakes:
        async with opened(policy, fakes) as generator:
            samples = await generator.sample(policy.renderer(chat=False)("task:"), n=2, key="k", sampling=HOT)
    assert max(await differences(policy, samples)) < 1e-4


async def test_a_folder_that_the_server_cannot_read_is_named(policy, folders, tmp_path, monkeypatch):
    monkeypatch.setattr("azr.rollout.vllm.disk._write", lambda folder, tensors: None)
    with serving(folders["qwen2"]) as [fake]:
        async with opened(policy, [fake], f"generation.weights_folder={tmp_path}") as generator:
            with pytest.raises(UserError, match=r"set generation\.weights_folder to a folder that it shares"):
                await generator.update_weights(1, policy.model.state_dict())
        assert fake.calls[-1][0] == "/resume"  # it is left able to sample


async def test_a_folder_that_cannot_be_written_is_named(policy, folders, tmp_path):
    (tmp_path / "file").touch()
    with serving(folders["qwen2"]) as fakes:
        async with opened(policy, fakes, f"generation.weights_folder={tmp_path / 'file'}") as generator:
            with pytest.raises(UserError, match=r"generation\.weights_folder: weights cannot be written"):
                await generator.update_weights(1, policy.model.state_dict())


def test_weights_are_written_whole_or_not_at_all(tmp_path):
    from azr.rollout.vllm.disk import _write

    def broken():
        yield "a", torch.zeros(2)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        _write(tmp_path / "weights", broken())
    assert not (tmp_path / "weights").exists()
    _write(tmp_path / "weights", iter([("a", torch.ones(2))]))
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["model-00001.safetensors"]
    assert not Path(f"{tmp_path / 'weights'}.unfinished").exists()
