"""Held-out sets of the self-play domains as benchmarks, with their baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from azr.analysis.statistics import mean_of_kinds
from azr.config import SandboxConfig, Style
from azr.domains import registry
from azr.domains.base import Domain
from azr.errors import UserError
from azr.evals.held_out import HeldOut, best_constant, guess
from azr.evals.problems import Benchmark, Form, Problem
from azr.evals.results import ALL, MEAN
from azr.evals.runner import Runner
from azr.sandbox.base import Sandbox
from azr.settings import check
from azr.types import Task, Verdict

TASKS = 500
"""Tasks per kind without a limit; a domain that makes its tasks could go on forever."""

_STYLES: dict[str, Style] = {"complete": "compact", "chat": "chat", "r1": "r1"}


@dataclass(frozen=True, slots=True)
class DomainVerdict:
    """Lets the domain decide."""

    domain: Domain
    task: Task

    async def judge(self, answer: str, runner: Runner) -> Verdict:
        """Judge a completion as self-play does, within the evaluation's time limit."""
        return await self.domain.verify(self.task, answer, runner.limited())


def names() -> list[str]:
    """All domains, and the sets that ship with them."""
    return [*registry.names(), *registry.held_out_sets()]


def domain_of(name: str) -> tuple[str, str | None] | None:
    """Domain and set of a benchmark's name, as in `python`, `python:PATH` or `nursery-iid`; None for any other name."""
    domain, _, chosen = name.partition(":")
    if domain in registry.names():
        return domain, chosen or None
    owner = registry.held_out_sets().get(name)
    return None if owner is None else (owner, name)


async def load(
    name: str,
    template: str,
    limit: int | None,
    sandbox: Sandbox,
    *,
    played: Callable[[str], Mapping[str, Any]] = lambda _: {},
    seed: int = 0,
) -> Benchmark:
    """Read a held-out set and measure its baselines.

    Args:
        name: see `domain_of`.
        template: selects the domain's style of prompts.
        limit: tasks per kind.
        sandbox: for the domain.
        played: settings that a domain was played with; the others keep the domain's defaults.
        seed: of the random guess.

    Raises:
        UserError: no such set.
    """
    found = domain_of(name)
    if found is None:
        raise UserError(f"--bench {name}: no such domain; there are {', '.join(registry.names())}")
    domain_name, chosen = found
    chosen_set = {"held_out": chosen} if chosen else {}
    tree = {**played(domain_name), "name": domain_name, "style": _STYLES[template], **chosen_set}
    config = check(registry.config_class(domain_name), tree, source=f"--bench {name}")
    domain = registry.make_domain(config, SandboxConfig())
    tasks = await domain.held_out(limit or TASKS, sandbox)
    if not tasks:
        raise UserError(f"--bench {name}: this set has no tasks")
    baselines = {
        "random guess": _accuracies(await guess(tasks, domain, sandbox, seed=seed)),
        "best constant": _accuracies(await best_constant(tasks, domain, sandbox)),
    }
    return Benchmark(name, [_problem(domain, task) for task in tasks], f"domain:{name}", baselines=baselines)


def _problem(domain: Domain, task: Task) -> Problem:
    prompt = domain.solve_prompt(task)
    return Problem(
        id=task.id,
        form=Form.TEXT,
        stem=prompt,
        request=prompt,
        gold=domain.gold(task),
        judge=DomainVerdict(domain, task),
        key=domain.gold(task),
        group=task.kind,
    )


def _accuracies(answered: HeldOut) -> dict[str, float]:
    marks = answered.correct
    every = [mark for of in marks.values() for mark in of]
    kinds = {kind: sum(of) / len(of) for kind, of in marks.items()}
    return {ALL: sum(every) / len(every), MEAN: mean_of_kinds(marks), **kinds}
