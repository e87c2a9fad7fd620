"""The analysis of a run's folder, kept up to date while the run goes on: `Follower.poll` reads what is new."""

from __future__ import annotations

from pathlib import Path

from azr.analysis.run import Analysis
from azr.run.directory import EVENTS, METRICS, SEED, RunDirectory
from azr.run.log import TOKENS, Log


class Follower:
    """Reads a run's logs as they grow. It only reads, and takes no lock.

    Args:
        run: the run's folder.
        texts: whether what was written is kept too, compressed, for the page; numbers alone need a tenth of the memory.

    Attributes:
        analysis: of all that has been read; a new one after a run was cut back by resuming it.
        offsets: where each step begins in events.jsonl (bytes).

    Raises:
        UserError: it is not the folder of a run.
    """

    def __init__(self, run: Path, *, texts: bool = True) -> None:
        self.run = RunDirectory.open(run).path
        self._texts = texts
        self._begin()

    def poll(self) -> bool:
        """Take in what is new; returns whether anything was.

        Raises:
            UserError: a log cannot be read.
        """
        if self.events.restarted() | self.metrics.restarted():
            self._begin()
        before = self.events.offset + self.metrics.offset
        for at, event in self.events.new():
            step = event.get("step")
            if isinstance(step, int):
                self.offsets.setdefault(step, at)
            self.analysis.feed(event)
        for _, record in self.metrics.new():
            self.analysis.feed_metrics(record)
        if not self._seeded and (self.run / SEED).is_file():
            self._read_seeds()
        return self.events.offset + self.metrics.offset > before

    @property
    def unreadable(self) -> int:
        """Lines of the logs that are no JSON objects."""
        return self.events.unreadable + self.metrics.unreadable

    def _begin(self) -> None:
        self.analysis = Analysis(texts=self._texts)
        self.events, self.metrics = Log(self.run / EVENTS, skip=TOKENS), Log(self.run / METRICS)
        self.offsets: dict[int, int] = {}
        self._seeded = False

    def _read_seeds(self) -> None:
        """Tasks that the run began with: the domain's own and a seed file's have no events."""
        self._seeded = True
        for _, task in Log(self.run / SEED).new():
            self.analysis.give(task)
