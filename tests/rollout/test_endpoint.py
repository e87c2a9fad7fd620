"""A served model as a generator, against a real server process: what is asked, what comes back, and what goes wrong."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from azr.config import EndpointConfig, ModelConfig
from azr.errors import UserError
from azr.rollout import openai_client
from azr.rollout.base import Sampling
from azr.rollout.endpoint import EndpointGenerator
from azr.rollout.openai_client import PromptTooLongError
from azr.settings import check
from tests.json_server import served_by

KEY = "sk-very-secret"
SAMPLING = Sampling(20, temperature=0.7, top_p=0.9)


@contextmanager
def server(*options: str) -> Iterator[str]:
    """The address of a server in a process of its own."""
    with served_by("tests.openai_server", *options) as address:
        yield f"{address}/v1"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that does what it is asked, though it lists choices last first."""
    with server("--backwards") as address:
        yield address


def told(url: str, what: str):
    with urllib.request.urlopen(f"{url.removesuffix('/v1')}/{what}") as answer:
        return json.loads(answer.read())


def config(url: str, name: str = "served", **endpoint) -> ModelConfig:
    return ModelConfig(name=f"{name}@{url}", endpoint=EndpointConfig(**endpoint))


async def sampled(url: str, *prompts: str, n: int = 1, chat: bool = False, **endpoint):
    """Samples of prompts that are asked at once."""
    async with EndpointGenerator(config(url, **endpoint), chat=chat, seed=3) as generator:
        asked = (generator.sample(generator.render(prompt), n=n, key=prompt, sampling=SAMPLING) for prompt in prompts)
        return await asyncio.gather(*asked)


async def failure(url: str, name: str = "served", *, chat: bool = False, **endpoint) -> str:
    """The one line of a server that cannot be used."""
    with pytest.raises(UserError) as error:
        async with EndpointGenerator(config(url, name, **endpoint), chat=chat, seed=0):
            pass
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(autouse=True)
def _no_key_and_no_waiting(monkeypatch):
    monkeypatch.delenv("AZR_API_KEY", raising=False)
    monkeypatch.setattr(openai_client, "_BACKOFF_SECONDS", 0.01)


async def test_a_text_is_continued_with_the_settings_that_were_given(url):
    ((sample,),) = await sampled(url, "once")
    *_, request = told(url, "asked")
    assert (sample.text, sample.finished, sample.tokens) == ("once #0", True, 7)
    assert request.pop("seed") >= 0
    assert request == {
        "path": "/v1/completions",
        "model": "served",
        "prompt": "once",
        "max_tokens": 20,
        "temperature": 0.7,
        "top_p": 0.9,
    }


async def test_a_chat_model_is_asked_by_a_message(url):
    ((sample,),) = await sampled(url, "hello", chat=True)
    assert told(url, "asked")[-1]["path"] == "/v1/chat/completions"
    assert sample.text == "user: hello #0"


async def test_a_sample_has_neither_tokens_nor_logprobs_to_learn_from(url):
    ((sample,),) = await sampled(url, "once")
    assert (sample.prompt_ids, sample.completion_ids, sample.logprobs) == ((), (), ())


async def test_a_completion_that_was_cut_is_not_finished(url):
    ((sample,),) = await sampled(url, "cut")
    assert not sample.finished


async def test_n_samples_take_one_request_and_come_in_their_order(url):
    (samples,) = await sampled(url, "thrice", n=3)
    assert [request.get("n") for request in told(url, "asked") if request.get("prompt") == "thrice"] == [3]
    assert [sample.text for sample in samples] == ["thrice #0", "thrice #1", "thrice #2"]
    assert {sample.tokens for sample in samples} == {None}  # the server counts them together


@pytest.mark.parametrize("how", ["ignore", "refuse"])
async def test_a_server_without_n_is_asked_once_for_each_and_not_for_n_again(how):
    with server("--single", how) as url:
        async with EndpointGenerator(config(url), chat=False, seed=0) as generator:
            for prompt in ("one", "two"):
                samples = await generator.sample(generator.render(prompt), n=3, key=prompt, sampling=SAMPLING)
                assert [sample.text for sample in samples] == [f"{prompt} #0"] * 3
        requests = told(url, "asked")
    assert sum("n" in request for request in requests) == (how == "ignore")
    assert len({request["seed"] for request in requests if request["prompt"] == "two"}) == 3


async def test_seeds_follow_from_the_key_alone(url):
    await sampled(url, "a", "b")
    await sampled(url, "b", "a")
    seeds = [(r["prompt"], r["seed"]) for r in told(url, "asked") if r.get("prompt") in ("a", "b")]
    assert (len(seeds), len(set(seeds))) == (4, 2)


@pytest.mark.parametrize("fault", ["drop", "500", "503"])
async def test_a_passing_fault_is_met_with_another_attempt(fault):
    with server("--faults", "drop", fault, fault) as url:
        ((sample,),) = await sampled(url, "once")
    assert sample.text == "once #0"


async def test_a_server_that_asks_to_be_left_alone_is(monkeypatch):
    waits = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await real(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with server("--faults", "429") as url:
        await sampled(url, "once")
    assert waits == [1.0]  # its Retry-After, where our own first wait is a hundredth


async def test_gives_up_after_the_last_attempt_and_says_what_the_server_said():
    with server("--faults", *["503"] * 9) as url:
        assert await failure(url, attempts=2) == (
            f"the server at {url} failed 2 times (status 503: told to); is it running and reachable?"
        )


async def test_no_more_requests_are_under_way_than_configured(url):
    await sampled(url, *map(str, range(20)), connections=3)
    assert 1 < told(url, "peak") <= 3


async def test_no_server_is_one_line_at_once():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    assert (await failure(url)).startswith(f"no server at {url} (")


async def test_a_wrong_model_lists_those_that_the_server_has(url):
    assert await failure(url, "qwen") == f"the server at {url} has no model qwen; it has served"


async def test_a_wrong_address_is_one_line(url):
    wrong = url.removesuffix("/v1")
    assert await failure(wrong) == (
        f"the server at {wrong} has no /completions: no such route; check the address, or ask in the style chat"
    )


async def test_an_answer_of_another_service_is_one_line():
    with server("--faults", "other") as url:
        assert "does not answer /completions as OpenAI's does" in await failure(url)


async def test_a_missing_key_says_where_to_put_it():
    with server("--key", KEY) as url:
        assert await failure(url) == (
            f"the server at {url} refuses requests without a key; put one into AZR_API_KEY (status 401)"
        )


async def test_a_key_comes_from_the_environment_variable_that_is_named(monkeypatch):
    monkeypatch.setenv("OTHER", KEY)
    with server("--key", KEY) as url:
        await sampled(url, "once", key_env="OTHER")


async def test_no_message_shows_the_key_even_where_the_server_repeats_it(monkeypatch):
    monkeypatch.setenv("AZR_API_KEY", KEY)
    with server("--faults", "echo") as url:
        line = await failure(url)
    assert "strange header: Bearer ***" in line
    with server("--key", "another") as url:
        assert await failure(url) == f"the server at {url} refuses the key in AZR_API_KEY (status 401)"


async def test_a_prompt_beyond_the_context_is_told_from_other_refusals(url):
    with pytest.raises(PromptTooLongError, match="exceed the model's context"):
        await sampled(url, "x" * 2001, n=2)


@pytest.mark.parametrize("secret", ["http://user:s3cret@host/v1", "http://host/v1?key=s3cret", "http://host/v1#s3cret"])
def test_an_address_takes_no_secret(secret):
    with pytest.raises(UserError, match="the address of a served model must not hold a password") as error:
        check(ModelConfig, {"name": f"m@{secret}"}, source="model")
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(
    ("wrong", "expected"), [("http://", "has the form NAME@http"), ("http://host:x/v1", "port could not")]
)
def test_an_address_must_be_one(wrong, expected):
    with pytest.raises(UserError, match=expected):
        check(ModelConfig, {"name": f"m@{wrong}"}, source="model")


@pytest.mark.parametrize("name", ["owner/name", "folder@2", "http://host/v1"])
def test_other_names_are_not_served(name):
    assert ModelConfig(name=name).served is None


def test_a_served_name_may_have_an_at_sign_of_its_own():
    assert ModelConfig(name="m@v2@https://host/v1/").served == ("m@v2", "https://host/v1")
