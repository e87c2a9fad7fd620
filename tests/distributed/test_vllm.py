"""Generation on real vLLM servers, on the CPU, over the small model that ships."""

import asyncio
import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from azr.errors import UserError
from azr.models import shipped
from azr.models.load import LanguageModel, load_model
from azr.rollout.base import Sampling
from azr.rollout.vllm.server import COMPLETIONS, GENERATE
from azr.train.serving import make_vllm_generator, scorer
from azr.train.start import resolve
from tests.distributed.engines import Engine, interpreter, untied
from tests.rollout.vllm import capture
from tests.runs import azr, events, metrics, only_run

pytestmark = [pytest.mark.slow, pytest.mark.vllm]

NURSERY = Path(shipped.resolve("nursery"))
ROUTES = Path(capture.__file__).with_name("routes.json")


@dataclass
class Engines:
    """Servers of the tests: two on the model with a head of its own, one of which ends, and one on the tied model."""

    lasting: Engine
    doomed: Engine
    tied: Engine


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    folder = tmp_path_factory.mktemp("engines")
    model = untied(NURSERY, folder / "untied")
    started = [
        Engine(served, folder / f"{name}.log")
        for name, served in (("lasting", model), ("doomed", model), ("tied", NURSERY))
    ]
    try:
        for engine in started:
            engine.ready()
        yield Engines(*started)
    finally:
        for engine in started:
            engine.kill()


@pytest.fixture
def policy() -> LanguageModel:
    torch.set_num_threads(1)
    return load_model(resolve("demo", [f"model.name={NURSERY}", "model.device=cpu"]).model)


def generator_on(policy: LanguageModel, *served: Engine, temperature: float = 1.0):
    urls = ",".join(engine.url for engine in served)
    config = resolve("demo", [f"generation.urls={urls}", f"generation.temperature={temperature}"])
    return make_vllm_generator(config, policy)


def nudge(policy: LanguageModel) -> None:
    """Move all weights a little, as an update does."""
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in policy.model.parameters():
            tensor.add_(0.02 * torch.randn(tensor.shape, generator=rng))


async def drawn(generator, policy: LanguageModel, temperature: float = 1.0):
    prompts = [policy.renderer(chat=False)(text) for text in ("f(x) = x", "return a + b", "if a < b")]
    sampling = Sampling(60, temperature)
    found = (generator.sample(prompt, n=8, key=prompt.text, sampling=sampling) for prompt in prompts)
    return [sample for samples in await asyncio.gather(*found) for sample in samples]


async def difference(policy: LanguageModel, samples, temperature: float = 1.0) -> float:
    """Largest difference between a sampler's log-probability and the learner's."""
    score = scorer(policy, temperature=temperature)
    own = [await score(sample.prompt_ids, sample.completion_ids) for sample in samples]
    return max(float(np.abs(np.subtract(s.logprobs, o)).max()) for s, o in zip(samples, own, strict=True))


@pytest.mark.parametrize("route", [GENERATE, COMPLETIONS])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
async def test_the_samplers_logprobs_are_the_learners(engines, policy, route, temperature):
    async with generator_on(policy, engines.lasting, temperature=temperature) as generator:
        (server,) = generator._pool.servers
        assert server._route == GENERATE
        server._route = route
        samples = await drawn(generator, policy, temperature)
    assert await difference(policy, samples, temperature) < 1e-4
    assert any(sample.finished for sample in samples)
    assert all(sample.text == policy.decode(sample.completion_ids) for sample in samples)


async def test_more_prompts_at_once_than_a_batch_reads_are_all_answered(engines, policy):
    """vLLM's CPU build dies if it reads a prompt of a request with a seed in two parts."""
    prompts = [policy.renderer(chat=False)(f"a = {number}\n" * 40) for number in range(60)]
    async with generator_on(policy, engines.lasting) as generator:
        found = (generator.sample(prompt, n=1, key=prompt.text, sampling=Sampling(2, 1.0)) for prompt in prompts)
        answers = await asyncio.gather(*found)
    assert sum(len(prompt.token_ids) for prompt in prompts) > 8192  # tokens that a batch reads by default, at most
    assert all(sample.completion_ids for (sample,) in answers)


async def test_all_servers_sample_from_new_weights_before_the_next_step(engines, policy):
    async with generator_on(policy, engines.lasting, engines.doomed) as generator:
        before = await drawn(generator, policy)
        nudge(policy)
        await generator.update_weights(1, policy.model.state_dict())
        labels = {engine.get("/weight_info")["weight_version"] for engine in (engines.lasting, engines.doomed)}
        after = await drawn(generator, policy)
    assert len(labels) == 1
    assert {sample.version for sample in before} == {0}
    assert {sample.version for sample in after} == {1}
    assert await difference(policy, after) < 1e-4
    assert await difference(policy, before) > 0.01  # the weights did change


async def test_the_probe_fails_on_a_tied_server_that_keeps_its_old_head(engines, policy):
    async with generator_on(policy, engines.tied) as generator:
        nudge(policy)
        whole = policy.model.state_dict()
        tied = {name: tensor for name, tensor in whole.items() if name != "lm_head.weight"}
        with pytest.raises(UserError, match="does not sample from weights 1"):
            await generator.update_weights(1, tied)  # as a Hugging Face folder of the model has them
        await generator.update_weights(2, whole)  # as azr sends them
        assert await difference(policy, await drawn(generator, policy)) < 1e-4


def test_the_fake_server_of_the_fast_tests_is_held_to_what_this_one_says(engines):
    command = [str(interpreter()), capture.__file__, engines.lasting.url]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    kept = json.loads(ROUTES.read_text())
    assert {key: told[key] for key in ("vllm", "paths", "components", "nccl")} == {
        key: kept[key] for key in ("vllm", "paths", "components", "nccl")
    }
    assert told["answers"].keys() == kept["answers"].keys()


TINY = [
    *("steps=3", "selfplay.batch_size=3", "selfplay.seed_factor=1", "selfplay.samples=4", "evaluation.tasks=0"),
    *("generation.max_propose_tokens=100", "generation.max_solve_tokens=100", "checkpoint.every=1"),
]


def test_steps_begin_while_the_learner_works_with_samples_of_the_weights_before(engines, tmp_path):
    urls = f"generation.urls={engines.lasting.url},{engines.doomed.url}"
    words = ["train", "demo", *TINY, urls, "generation.max_staleness=1", f"output_dir={tmp_path}"]
    done = azr(*words, cwd=tmp_path, timeout=900)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    _whole(run, steps=3, stale=1)
    missed = [line["learner"]["staleness"] for line in metrics(run) if "learner" in line]
    assert missed[0] == 0
    assert 0 < max(missed) <= 1


def test_a_step_whose_server_dies_has_every_rollout_once_and_without_servers_the_run_can_be_resumed(engines, tmp_path):
    """The last test: it ends the doomed server."""
    urls = f"generation.urls={engines.lasting.url},{engines.doomed.url}"
    ended = threading.Event()
    killer = threading.Thread(target=_kill_in_step_two, args=(engines.doomed, tmp_path, ended))
    killer.start()
    try:
        done = azr("train", "demo", *TINY, urls, f"output_dir={tmp_path}", cwd=tmp_path, timeout=900)
    finally:
        ended.set()
        killer.join()
    assert done.returncode == 0, done.stderr
    assert f"vLLM at {engines.doomed.url} is lost" in done.stderr
    run = only_run(tmp_path)
    _whole(run, steps=3)

    gone = azr("train", "--resume", run, "steps=4", f"generation.urls={engines.doomed.url}", cwd=tmp_path)
    assert gone.returncode == 2
    assert len(gone.stderr.strip().splitlines()) == 1
    assert f"no vLLM server answers at {engines.doomed.url}" in gone.stderr

    again = azr(
        "train", "--resume", run, "steps=4", f"generation.urls={engines.lasting.url}", cwd=tmp_path, timeout=900
    )
    assert again.returncode == 0, again.stderr
    _whole(run, steps=4)


def _kill_in_step_two(engine: Engine, folder: Path, ended: threading.Event) -> None:
    """Kill a server as soon as it was asked for something of step 2."""
    while not ended.is_set() and not any(folder.glob("*/checkpoints/*1")):
        time.sleep(0.05)
    before = engine.sampled()
    while not ended.is_set() and engine.sampled() < before + 2:  # the probe is the first
        time.sleep(0.05)
    engine.kill()


def _whole(run: Path, *, steps: int, stale: int = 0) -> None:
    """Every rollout of every step is there once, from the newest weights or some that are that much older."""
    written = events(run)
    for step in range(1, steps + 1):
        drawn = [event for event in written if event["step"] == step and event["event"] in ("proposal", "attempt")]
        assert Counter(event["id"] for event in drawn).most_common(1)[0][1] == 1
        assert sum(event["event"] == "proposal" for event in drawn) == 3 * 3
        assert {event["version"] for event in drawn} <= {*range(max(0, step - 1 - stale), step)}
        rewards = [event["id"] for event in written if event["step"] == step and event["event"] == "reward"]
        assert len(rewards) == len(set(rewards)) > 0
