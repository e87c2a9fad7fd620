"""How long the completions of evaluated models may be."""

from __future__ import annotations

import pytest
import torch

from azr.config import ModelConfig
from azr.evals import domain_sets
from azr.evals.answerers import ModelAnswerer
from azr.evals.command import Request, _benchmark
from azr.evals.contestants import open_model
from azr.evals.harness import Settings
from azr.evals.problems import Problem
from azr.evals.templates import Template
from azr.models import shipped
from azr.sandbox.factory import make_sandbox

CONTEXT = 256
"""Of the model that ships for primes."""


@pytest.fixture(scope="module")
def answerer() -> ModelAnswerer:
    settings, threads = Settings(max_tokens=4 * CONTEXT), torch.get_num_threads()
    found, _ = open_model(shipped.resolve("nursery-primes"), ModelConfig(name="", device="cpu"), settings)
    torch.set_num_threads(threads)
    return found


@pytest.fixture
async def problem() -> Problem:
    sandbox = make_sandbox(workers=1)  # primes run nothing in it
    benchmark = await domain_sets.load("primes", "complete", 1, sandbox)
    await sandbox.close()
    return benchmark.problems[0]


async def test_a_model_with_a_short_context_answers_if_longer_completions_are_allowed(answerer, problem):
    (reply,) = await answerer.replies(problem, problem.stem, "key", 1)
    assert reply.finished
    assert reply.text.startswith("<answer>")


async def test_a_completion_ends_where_the_context_does(answerer, problem):
    prompt = "\n" * (CONTEXT - 2)
    assert answerer.render(prompt).length == CONTEXT - 2
    (reply,) = await answerer.replies(problem, prompt, "key", 1)
    assert reply.tokens in (1, 2)


async def test_a_prompt_that_fills_the_context_gets_no_reply(answerer, problem):
    assert not await answerer.replies(problem, "\n" * CONTEXT, "key", 1)


async def test_a_domain_set_has_the_settings_of_the_first_run_that_played_the_domain(tmp_path):
    for name, section in {"python": "", "first": "min_prime = 89", "second": "min_prime = 5"}.items():
        (tmp_path / name).mkdir()
        domain = "python" if name == "python" else "primes"
        (tmp_path / name / "config.toml").write_text(f'[domain]\nname = "{domain}"\nstyle = "r1"\n{section}\n')
    request = Request(["nursery", *(str(tmp_path / name) for name in ("python", "first", "second"))], [], tmp_path)
    sandbox = make_sandbox(workers=1)
    benchmark = await _benchmark("primes", Template("complete"), request, sandbox)
    await sandbox.close()
    judges = [problem.judge for problem in benchmark.problems]
    assert {judge.task.data["p"] for judge in judges} == {89, 97}
    assert {judge.domain.config.style for judge in judges} == {"compact"}
