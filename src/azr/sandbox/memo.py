"""A sandbox that remembers outcomes and does not run the same job again."""

from collections import OrderedDict

from azr.sandbox.base import Job, Outcome, Reason, Sandbox

_OF_THE_MOMENT = frozenset({Reason.TIMEOUT, Reason.MEMORY, Reason.CRASHED, Reason.TAMPERED})
"""Reasons that the machine may have caused, and not the program. Such outcomes are not remembered, nor are those of a
job that was started again."""


class MemoSandbox:
    """Keeps the outcomes of the most recent jobs and passes all other jobs to another sandbox.

    `entries` is how many are kept. Two equal jobs are both run if the second starts before the first has ended. The
    other sandbox is closed together with this one.
    """

    def __init__(self, sandbox: Sandbox, *, entries: int = 4096) -> None:
        self._sandbox = sandbox
        self._entries = entries
        self._known: OrderedDict[Job, tuple[Outcome, ...]] = OrderedDict()
        self.hits = 0
        self.misses = 0

    async def run(self, job: Job) -> tuple[Outcome, ...]:
        """Return the known outcomes of a job, or run it."""
        known = self._known.get(job)
        if known is not None:
            self.hits += 1
            self._known.move_to_end(job)
            return known
        self.misses += 1
        outcomes = await self._sandbox.run(job)
        if not any(outcome.disturbed or outcome.reason in _OF_THE_MOMENT for outcome in outcomes):
            self._known[job] = outcomes
            if len(self._known) > self._entries:
                self._known.popitem(last=False)
        return outcomes

    async def close(self) -> None:
        """Close the other sandbox and forget everything."""
        self._known.clear()
        await self._sandbox.close()
