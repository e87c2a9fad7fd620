"""`azr domains try NAME`: the prompts of every style, and verdicts on gold and random answers."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar, get_args

from azr import settings
from azr.config import DomainConfig, SandboxConfig, Style
from azr.domains import registry
from azr.domains.base import Domain, Proposal, ProposalPrompt
from azr.errors import UserError
from azr.sandbox.base import Sandbox
from azr.sandbox.factory import make_sandbox
from azr.streams import stream
from azr.types import Kind, Task, Verdict

T = TypeVar("T")

GARBAGE = ("", "<answer></answer>", "<answer>\N{SNOWMAN} \x00</answer>", "<answer>" * 50, "\\boxed{-1}")
"""Texts that are no answer and no proposal; a model writes such, and they must be refused, not raise."""


def run(name: str, assignments: Sequence[str], count: int) -> bool:
    """Print what a domain does; returns whether all gold answers are right.

    What the domain's code raises is passed on: `azr.console` names its method.

    Args:
        name: of a registered domain.
        assignments: settings of the domain, such as "max_base=8", with or without the section's name.
        count: tasks per kind to judge answers of.

    Raises:
        UserError: there is no such domain, its settings are wrong, or a method returns something of another type.
    """
    tree = settings.override({"name": name}, [word.removeprefix("domain.") for word in assignments])
    return asyncio.run(_run(settings.check(registry.config_class(name), tree, source=f"domain {name}"), count))


async def _run(config: DomainConfig, count: int) -> bool:
    limits = SandboxConfig()
    for style in get_args(Style):
        _prompts(registry.make_domain(config.model_copy(update={"style": style}), limits), style)
    domain, sandbox = registry.make_domain(config, limits), make_sandbox(**limits.choice)
    try:
        tasks = [_typed(domain, "held_out", task, Task) for task in await domain.held_out(count, sandbox)]
        return all([await _answers(domain, kind, tasks, sandbox) for kind in domain.kinds])
    finally:
        await sandbox.close()


def _prompts(domain: Domain, style: Style) -> None:
    """Print a proposer's prompt, a solver's and the whole task of each kind."""
    seeds = [_typed(domain, "seeds", task, Task) for task in domain.seeds()]
    for kind in domain.kinds:
        sources = domain.sources(kind)
        known = [task for task in seeds if task.kind in sources.kinds][: 1 if sources.count is None else sources.count]
        _show(f"{style}: propose {kind}", _asked(domain, kind, known).text)
        for task in [task for task in seeds if task.kind == kind][:1]:
            _show(f"{style}: solve {kind}", _typed(domain, "solve_prompt", domain.solve_prompt(task), str))
            _show(f"{style}: the whole task", _typed(domain, "show", domain.show(task), str))


async def _answers(domain: Domain, kind: Kind, tasks: Sequence[Task], sandbox: Sandbox) -> bool:
    """Judge gold answers, answers to other tasks, and garbage as answers and as proposals; print what came of it."""
    mine = [task for task in tasks if task.kind == kind]
    if not mine:
        print(f"{kind}: no held-out tasks")
        return True
    answers = [_typed(domain, "gold", domain.gold(task), str) for task in mine]
    rng = stream(0, "trial", kind, "random")
    others = [answers[int(rng.integers(len(mine)))] for _ in mine]
    gold = [await _verdict(domain, task, text, sandbox) for task, text in zip(mine, answers, strict=True)]
    random = [await _verdict(domain, task, text, sandbox) for task, text in zip(mine, others, strict=True)]
    garbage = [await _verdict(domain, mine[0], text, sandbox) for text in GARBAGE]
    asked = _asked(domain, kind, ()) if domain.sources(kind).count is None else None
    proposed = [await _validated(domain, asked, text, sandbox) for text in GARBAGE] if asked else []
    for what, verdicts in {
        "gold answers": gold,
        "random answers of other tasks": random,
        "garbage as an answer": garbage,
        "garbage as a proposal": proposed,
    }.items():
        if verdicts:
            print(f"{kind}: {what}: {_counted(verdicts)}")
    for task in [task for task, verdict in zip(mine, gold, strict=True) if not verdict.passed][:1]:
        _show(f"{kind}: a gold answer that is refused: {domain.gold(task)}", domain.show(task))
    return all(verdict.passed for verdict in gold)


def _asked(domain: Domain, kind: Kind, known: Sequence[Task]) -> ProposalPrompt:
    asked = domain.propose_prompt(kind, known, stream(0, "trial", kind))
    return _typed(domain, "propose_prompt", asked, ProposalPrompt)


async def _verdict(domain: Domain, task: Task, text: str, sandbox: Sandbox) -> Verdict:
    return _typed(domain, "verify", await domain.verify(task, text, sandbox), Verdict)


async def _validated(domain: Domain, asked: ProposalPrompt, text: str, sandbox: Sandbox) -> Verdict:
    return _typed(domain, "validate", await domain.validate(asked, text, sandbox), Proposal).verdict


def _typed(domain: Domain, method: str, found: Any, wanted: type[T]) -> T:
    """What a method returned, or an item of it. A domain is written by others, and nothing has checked its types."""
    if isinstance(found, wanted):
        return found
    name = f"{type(domain).__qualname__}.{method}"
    raise UserError(f"domain {domain.name}: {name} returned {found!r:.60}, not of type {wanted.__name__}")


def _counted(verdicts: Sequence[Verdict]) -> str:
    """How many passed, and the reasons of the others."""
    refused = Counter(verdict.reason for verdict in verdicts if not verdict.passed)
    reasons = f" ({', '.join(f'{count} {reason}' for reason, count in refused.most_common())})" if refused else ""
    return f"{sum(verdict.passed for verdict in verdicts)} of {len(verdicts)} right{reasons}"


def _show(title: str, text: str) -> None:
    print(f"--- {title}\n{text.strip()}\n")
