"""Fill the buffers before the first step: with tasks of the untrained model, or with those of a file."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable

from azr.domains.base import Domain, Proposal
from azr.errors import UserError
from azr.selfplay.buffer import TaskBuffer
from azr.selfplay.records import StepRecord, Stopwatch
from azr.selfplay.step import SelfPlay, buffer_kinds, counted
from azr.types import Kind, Verdict


async def seed(
    play: SelfPlay, progress: dict[Kind, Counter[str]] | None = None, *, shortfalls: list[str] | None = None
) -> AsyncIterator[StepRecord]:
    """Fill every buffer that proposals draw from with tasks of the untrained model, up to S x B each.

    Args:
        play: whose buffers are filled.
        progress: number of proposals by kind and verdict, updated in place. Together with the buffers it is all that
            is needed to resume seeding; None or empty: start from the beginning.
        shortfalls: with `seed_shortfall = play_on`, gets a line for each buffer that was not filled.

    Yields:
        each batch of proposals, settled.

    Raises:
        UserError: a buffer was not filled, because too few proposals are valid, and `seed_shortfall = stop`.
    """
    progress = {} if progress is None else progress
    if not progress:
        for task in play.domain.seeds():
            play.buffer.add(task, step=0, answer=play.domain.gold(task))
    config = play.config.selfplay
    wanted = config.seed_factor * config.batch_size
    for kind in seed_order(play.domain):
        reasons = progress.setdefault(kind, Counter())
        for batch in range(reasons.total() // config.batch_size, config.seed_attempts):
            if (missing := wanted - play.buffer.size(kind)) <= 0:
                break
            stopwatch, first = Stopwatch(), batch * config.batch_size
            slots = [(kind, first + index) for index in range(config.batch_size)]
            episodes, admitted = await play.propose(slots, stopwatch, most=missing)
            reasons.update(episode.proposal.verdict.reason for episode in episodes)
            yield StepRecord(0, episodes, [], admitted, [], stopwatch)
        if (made := play.buffer.size(kind)) < wanted:
            short = f"seeding: {made} of {wanted} {kind} tasks after {reasons.total()} proposals ({counted(reasons)})"
            if config.seed_shortfall == "stop":
                advice = "take a stronger model, another domain.style, or a smaller selfplay.seed_factor"
                raise UserError(f"{short}; {advice}")
            if shortfalls is not None:
                shortfalls.append(short)


def seed_from(play: SelfPlay, lines: Iterable[str]) -> Counter[str]:
    """Fill the buffers with the tasks of another run, as seeds of this one.

    Returns:
        the number of tasks that were left out, by reason.

    Raises:
        UserError: there are no tasks left to start with, or for references that a kind needs.
        Exception: anything that the domain or `TaskBuffer.load` raises for a line that is not a task.
    """
    kinds, left_out = buffer_kinds(play.domain), Counter[str]()
    for task in TaskBuffer.load(lines, kinds, play.config.buffer).tasks(*kinds):
        checked = play.checked(Proposal(Verdict(True, 1.0, "accepted"), task))
        if checked.task is None:
            left_out[checked.verdict.reason] += 1
        else:
            play.buffer.add(task, step=0, answer=play.domain.gold(task))
    for sources in map(play.domain.sources, play.domain.kinds):
        needed = kinds if sources.count is None else sources.kinds
        if not play.buffer.tasks(*needed):
            raise UserError(
                f"selfplay.seed_file = {play.config.selfplay.seed_file}: it has no task of {' or '.join(needed)} to"
                f" start with (left out: {counted(left_out) or 'none'})"
            )
    return left_out


def seed_order(domain: Domain) -> list[Kind]:
    """Kinds in the order in which their buffers can be seeded: sources first."""
    return sorted(buffer_kinds(domain), key=lambda kind: domain.sources(kind).kinds != (kind,))
