"""Servers that are missing, wrong, lost or somebody else's: requests go elsewhere, or one line says what to do."""

import asyncio
import re
import socket

import pytest

from azr.errors import UserError
from azr.rollout.base import Sampling
from tests.rollout.vllm.fake import serving
from tests.rollout.vllm.test_generator import HOT, opened


async def refusal(policy, fakes, *words: str) -> str:
    """The one line of servers that cannot be used."""
    with pytest.raises(UserError) as error:
        async with opened(policy, fakes, *words):
            pass
    assert "\n" not in str(error.value)
    return str(error.value)


async def drawn(generator, policy, tasks: int = 6) -> dict[str, list]:
    """Samples of several tasks that are asked for at once."""
    prompt = policy.renderer(chat=False)("task:")
    keys = [f"1/solve/deduction/{task:04d}" for task in range(tasks)]
    found = await asyncio.gather(*(generator.sample(prompt, n=3, key=key, sampling=HOT) for key in keys))
    return dict(zip(keys, found, strict=True))


async def test_a_server_that_is_not_there(policy):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but not listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        said = await refusal(policy, [url])
    assert f"no vLLM server answers at {url}" in said
    assert "azr serve" in said


@pytest.mark.parametrize(
    ("options", "words", "expected"),
    [
        ({"development": False}, [], r"has no /server_info; start it with `azr serve`"),
        ({"logprobs_mode": "raw_logprobs"}, [], "start it with --logprobs-mode processed_logprobs"),
        (
            {},
            ["generation.temperature=1.0", "generation.top_p=0.9", "selfplay.learn=false"],
            "start it with --logprobs-mode raw_logprobs",
        ),
        ({"context": 300}, [], "holds 300 tokens, .* come to 456; start it with --max-model-len 456"),
        ({"scale_out": False}, ["generation.max_staleness=1"], "has no /inference/v1/generate; .* needs that route"),
        ({"key": "secret"}, [], "refuses the API key"),
    ],
)
async def test_a_server_that_lacks_what_is_needed(policy, folders, options, words, expected):
    with serving(folders["qwen2"], **options) as fakes:
        assert re.search(expected, await refusal(policy, fakes, *words))


async def test_a_key_from_the_environment_is_sent(policy, folders, monkeypatch):
    monkeypatch.setenv("AZR_API_KEY", "secret")
    with serving(folders["qwen2"], key="secret") as fakes:
        async with opened(policy, fakes) as generator:
            await drawn(generator, policy, tasks=1)


async def test_requests_of_a_server_that_dies_go_to_another_and_draw_the_same(policy, folders, capsys):
    with serving(folders["qwen2"], count=2) as fakes:
        async with opened(policy, fakes) as generator:
            expected = await drawn(generator, policy)
    with serving(folders["qwen2"], count=2) as [first, second]:
        async with opened(policy, [first, second]) as generator:
            await generator.update_weights(0, policy.model.state_dict())
            alive = len(first.drawn)
            first.before_sample = lambda number: first.die() if number == alive + 4 else None
            found = await drawn(generator, policy)
    assert first.dead
    assert found == expected  # every row once, and as if nothing had happened
    assert capsys.readouterr().err.count(f"vLLM at {first.url} is lost") == 1


async def test_without_any_server_left_one_line_says_how_to_go_on(policy, folders):
    with serving(folders["qwen2"], count=2) as fakes:
        async with opened(policy, fakes) as generator:
            await drawn(generator, policy, tasks=1)
            for fake in fakes:
                fake.die()
            with pytest.raises(UserError, match=r"no vLLM server is left .* azr train --resume RUN") as error:
                await drawn(generator, policy)
    assert "\n" not in str(error.value)
    assert all(fake.url in str(error.value) for fake in fakes)


async def test_a_server_with_other_weights_is_not_trusted(policy, folders):
    with serving(folders["qwen2"], count=2) as [mine, other]:
        async with opened(policy, [mine, other]) as generator:
            await drawn(generator, policy, tasks=1)
            other.label = "default"  # as after a restart
            before = len(other.drawn)
            samples = await drawn(generator, policy)
            asked = len(other.drawn) - before
            assert len(samples) == 6
            assert 0 < asked < 18
            mine.label = "azr-of-another-run-3"
            with pytest.raises(UserError, match="sampled from weights azr-of-another-run-3 instead of"):
                await drawn(generator, policy)


async def test_a_lost_server_takes_part_again_after_the_next_weights(policy, folders):
    with serving(folders["qwen2"], count=2) as [mine, other]:
        async with opened(policy, [mine, other]) as generator:
            await drawn(generator, policy, tasks=1)
            other.label = "default"
            await drawn(generator, policy)
            await generator.update_weights(1, policy.model.state_dict())
            before = len(other.drawn)
            samples = await drawn(generator, policy)
            assert len(other.drawn) > before
    assert {sample.version for rows in samples.values() for sample in rows} == {1}


async def test_a_refused_request_is_not_repeated(policy, folders):
    with serving(folders["qwen2"]) as [fake]:
        async with opened(policy, [fake]) as generator:
            await generator.update_weights(0, policy.model.state_dict())
            fake.scale_out = False  # whatever the reason
            with pytest.raises(UserError, match="has no /inference/v1/generate"):
                await generator.sample(policy.renderer(chat=False)("t"), n=1, key="k", sampling=Sampling(4, 0.7))


async def test_a_server_that_stays_away_is_reported_once_and_the_others_go_on(policy, folders, capsys):
    with serving(folders["qwen2"], count=2) as [mine, other]:
        async with opened(policy, [mine, other]) as generator:
            await drawn(generator, policy, tasks=1)
            other.die()
            for version in (1, 2):
                await generator.update_weights(version, policy.model.state_dict())
                await drawn(generator, policy, tasks=2)
    assert capsys.readouterr().err.count("is lost") == 1
