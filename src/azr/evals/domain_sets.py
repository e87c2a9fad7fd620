"""Held-out sets of the self-play domains as benchmarks, with their baselines."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import fmean

from azr.config import SandboxConfig, Style
from azr.domains import registry
from azr.domains.base import Domain
from azr.errors import UserError
from azr.evals.contestants import played
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
    name: str, template: str, limit: int | None, sandbox: Sandbox, *, runs: Sequence[str] = (), seed: int = 0
) -> Benchmark:
    """Read a held-out set, with at most `limit` tasks per kind, and measure its baselines.

    The settings of the domain are those of the first of `runs`, names of models, that played it; else the defaults. The
    template selects the style of prompts; `seed` is that of the random guess.

    Raises:
        UserError: there is no such domain or set.
    """
    domain_name, chosen = domain_of(name) or (name, None)
    chosen_set = {"held_out": chosen} if chosen else {}
    tree = {**played(runs, domain_name), "name": domain_name, "style": _STYLES[template], **chosen_set}
    config = check(registry.config_class(domain_name), tree, source=f"--bench {name}")
    domain = registry.make_domain(config, SandboxConfig())
    tasks = await domain.held_out(limit or TASKS, sandbox)
    if not tasks:
        raise UserError(f"--bench {name}: this set has no tasks")
    baselines = {
        "random guess": _accuracies(await guess(tasks, domain, sandbox, seed=seed)),
        "best constant": _accuracies(await best_constant(tasks, domain, sandbox)),
    }
    problems = []
    for task in tasks:
        prompt, gold = domain.solve_prompt(task), domain.gold(task)
        judge = DomainVerdict(domain, task)
        problems.append(Problem(task.id, Form.TEXT, prompt, prompt, gold, judge, key=gold, group=task.kind))
    return Benchmark(name, problems, baselines=baselines)


def _accuracies(answered: HeldOut) -> dict[str, float]:
    marks = answered.correct
    kinds = {kind: fmean(of) for kind, of in marks.items()}
    return {ALL: fmean(chain(*marks.values())), MEAN: fmean(kinds.values()), **kinds}
