"""Zygotes of one event loop: which gets the next run, what came of it, when its time is up, and who takes its place.

A run is one child, or one answer of a checker. Each zygote has at most a few: the one that its child is at, and those
that wait in the pipe so that the zygote need not wait for us. Everything happens in callbacks of the loop: no thread
and no task per run.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import struct
import subprocess
import termios
from collections import deque
from dataclasses import dataclass
from typing import Any

from azr.sandbox.base import SandboxError
from azr.sandbox.exchange import Report, Stop
from azr.sandbox.protocol import HEADER, TAKEN
from azr.sandbox.spawn import Channels, read_hello, spawn

_AHEAD = {"full": 2, "lean": 2, "checker": 8}
"""How many runs a zygote of each kind has at most; a checker is through with one sooner than we send the next."""

_READ_BYTES = 2**18
_STARTS = 3
"""How often in a row a zygote may die before it stands."""

_ATTEMPTS = {"full": 2, "lean": 2, "checker": 1}
"""A zygote can be killed from outside, by the kernel for want of memory or by a person: whose run that was gets a
second try. A program that brings its zygote down does so again. What kills a checker is not for checkers."""


@dataclass(slots=True, eq=False)
class Run:
    """One child's work: the bytes for it, how long it may take, and what becomes of it."""

    job: bytes
    wall_seconds: float
    ended: asyncio.Future[Report]
    attempts: int = 0

    def end(self, report: Report) -> None:
        """Tell whoever waits, if anyone still does."""
        if not self.ended.done():
            self.ended.set_result(report)


class Fleet:
    """Zygotes of one kind that share a hash seed, and the runs that wait for them.

    Attributes:
        kind: "full", "lean" or "checker", as in `zygote.main`.
        tier: "full" or "seccomp".
        seed: of hashes and of the `random` module in every zygote.
        hello: what the first zygote said of itself.
    """

    def __init__(self, kind: str, tier: str, cpus: list[int | None], seed: int) -> None:
        self.kind = kind
        self.tier = tier
        self.seed = seed
        self.hello: dict[str, Any] = {}
        self._broken: SandboxError | None = None
        self._waiting: deque[Run] = deque()
        self._zygotes = [_Zygote(self, cpu) for cpu in cpus]

    async def start(self) -> None:
        """Start the first zygote, and the others once it stands.

        Raises:
            SandboxError: the jail cannot be built here.
        """
        self._zygotes[0].start()
        assert self._zygotes[0].hello is not None
        self.hello = await self._zygotes[0].hello
        for zygote in self._zygotes[1:]:
            zygote.start()

    def submit(self, job: bytes, wall_seconds: float) -> asyncio.Future[Report]:
        """Queue a run, and give what will hold its end.

        Raises:
            SandboxError: zygotes cannot be started any more, or the fleet is closed.
        """
        if self._broken is not None:
            raise self._broken
        run = Run(job, wall_seconds, asyncio.get_running_loop().create_future())
        self._waiting.append(run)
        self.dispatch()
        return run.ended

    def dispatch(self) -> None:
        """Hand waiting runs to the zygotes that have the fewest."""
        while self._waiting:
            zygote = min(self._zygotes, key=_Zygote.load)
            if zygote.load() >= _AHEAD[self.kind]:
                return
            run = self._waiting.popleft()
            if not run.ended.cancelled():
                zygote.give(run)

    def take_back(self, runs: deque[Run]) -> None:
        """Put runs of a dead zygote at the head of the queue again."""
        self._waiting.extendleft(reversed(runs))

    def fail(self, error: SandboxError) -> None:
        """Give up: what waits, and all that is asked later, ends with `error`."""
        self._broken = error
        for run in self._waiting:
            # Nobody can wait any more in a loop that is closed.
            if not run.ended.done() and not run.ended.get_loop().is_closed():
                run.ended.set_exception(error)
        self._waiting.clear()

    def close(self) -> None:
        """Kill every zygote and its child, and wait until they are gone."""
        for zygote in self._zygotes:
            zygote.stop()
        self.fail(SandboxError("the sandbox was closed before this job had run"))
        for zygote in self._zygotes:
            zygote.bury()


class _Zygote:
    """The host's side of one zygote: its pipes, its runs, its clock; and its successor when it dies."""

    def __init__(self, fleet: Fleet, cpu: int | None) -> None:
        self.hello: asyncio.Future[dict[str, Any]] | None = None
        self._fleet = fleet
        self._cpu = cpu
        self._channels: Channels | None = None
        self._stands = False
        self._starts = 0
        self._runs: deque[Run] = deque()
        self._inbox = bytearray()
        self._outbox = bytearray()
        self._full = False
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._dying: dict[int, subprocess.Popen[bytes]] = {}

    def load(self) -> int:
        """Give the number of runs that it has; a zygote that does not stand yet takes none."""
        return len(self._runs) if self._stands else _AHEAD[self._fleet.kind]

    def start(self) -> None:
        """Start the process; `hello` resolves when it stands for the first time."""
        self._loop = asyncio.get_running_loop()
        self._starts += 1
        if self.hello is None:
            self.hello = self._loop.create_future()
        try:
            self._channels = spawn(self._fleet.kind, self._fleet.tier, cpu=self._cpu, seed=self._fleet.seed)
        except OSError as error:
            self._refuse(SandboxError(f"the sandbox cannot start a process: {error}"))
            return
        self._loop.add_reader(self._channels.results, self._on_readable)

    def give(self, run: Run) -> None:
        """Send a run down the pipe."""
        self._runs.append(run)
        if len(self._runs) == 1:
            self._begin()
        self._outbox += run.job
        self._write()

    def stop(self) -> None:
        """Have the process killed and let go of its pipes; its runs go back to the fleet."""
        if self._channels is None:
            return
        if not self._loop.is_closed():
            self._loop.remove_reader(self._channels.results)
            self._loop.remove_writer(self._channels.jobs)
        self._channels.kill()
        self._channels.close()
        self._await_death(self._channels.process)
        self._channels = None
        self._stands = False
        self._inbox.clear()
        self._outbox.clear()
        self._full = False
        self._fleet.take_back(self._runs)
        self._runs.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _await_death(self, process: subprocess.Popen[bytes]) -> None:
        """Bury a process that was told to end once it has ended, without waiting for it."""
        if process.poll() is not None:
            return  # dead of itself, and now buried
        descriptor = os.pidfd_open(process.pid)
        self._dying[descriptor] = process
        if not self._loop.is_closed():
            self._loop.add_reader(descriptor, self._bury, descriptor)

    def _bury(self, descriptor: int) -> None:
        if not self._loop.is_closed():
            self._loop.remove_reader(descriptor)
        os.close(descriptor)
        self._dying.pop(descriptor).wait()

    def bury(self) -> None:
        """Wait for the processes that were told to end."""
        for descriptor in list(self._dying):
            self._bury(descriptor)

    # --- what the pipes bring ---

    def _write(self) -> None:
        """Write as much as the pipe takes, and ask the loop to say when it takes more."""
        assert self._channels is not None
        descriptor = self._channels.jobs
        try:
            del self._outbox[: os.write(descriptor, self._outbox)]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._outbox.clear()  # it died; the end of its results will tell
        if self._outbox:
            self._loop.add_writer(descriptor, self._write)
        elif self._full:
            self._loop.remove_writer(descriptor)
        self._full = bool(self._outbox)

    def _on_readable(self) -> None:
        if not self._read() and self._channels is not None:
            self._lost()
        self._fleet.dispatch()

    def _read(self) -> bool:
        """Take in what has come; whether there may be more to come."""
        assert self._channels is not None
        try:
            data = os.read(self._channels.results, _READ_BYTES)
        except BlockingIOError:
            return True
        self._inbox += data
        if not self._stands:
            self._read_hello(ended=not data)
        return self._read_frames() and bool(data)

    def _read_hello(self, *, ended: bool) -> None:
        line, newline, _ = bytes(self._inbox).partition(b"\n")
        if not newline and not (ended and self._starts >= _STARTS):
            return
        self._starts = 0
        del self._inbox[: len(line) + len(newline)]
        try:
            hello = read_hello(line)
            self._stands = True
            if self.hello is not None and not self.hello.done():
                self.hello.set_result(hello)
        except SandboxError as error:
            self._refuse(error)

    def _read_frames(self) -> bool:
        """Hand out what ended; whether the zygote and we still agree on who has which run."""
        at = 0
        agree = True
        while agree and len(self._inbox) >= at + HEADER.size:
            status, length, cpu_seconds = HEADER.unpack_from(self._inbox, at)
            start = at + HEADER.size
            if len(self._inbox) < start + length:
                break
            at = start + length
            # A child that took no job was killed from outside; what it left in the pipe may be half a job.
            agree = length > 0 and bool(self._runs)
            if agree:
                payload = bytes(self._inbox[start + len(TAKEN) : at])
                self._runs.popleft().end(_report(status, cpu_seconds, payload))
                if self._runs:
                    self._begin()
        del self._inbox[:at]
        return agree

    # --- the clock ---

    def _begin(self) -> None:
        """Start the clock of the run at the head."""
        self._deadline = self._loop.time() + self._runs[0].wall_seconds
        # Most runs end long before: the timer is left alone and looks again at the deadline when it goes off.
        if self._timer is not None and self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if not self._runs:
            return
        # What came in while the loop was busy counts first.
        if self._loop.time() >= self._deadline and self._read() and self._loop.time() >= self._deadline and self._runs:
            self._time_up()
        elif self._runs:
            self._timer = self._loop.call_at(self._deadline, self._on_timer)

    def _time_up(self) -> None:
        """Kill the child by way of its zygote, as nothing in there can be trusted to, and start another."""
        assert self._channels is not None
        payload = b""
        if not self._inbox:  # else the zygote has begun to send it up, and what is left in the pipe is a part
            size = struct.unpack("=i", fcntl.ioctl(self._channels.payload, termios.FIONREAD, b"0000"))[0]
            payload = os.read(self._channels.payload, size) if size else b""
        self._runs.popleft().end(Report(Stop.WALL_CLOCK, -signal.SIGKILL, 0.0, payload[len(TAKEN) :]))
        self._replace()

    def _lost(self) -> None:
        """The process ended without being told to."""
        if self._stands and self._runs:
            run = self._runs[0]
            run.attempts += 1
            if run.attempts >= _ATTEMPTS[self._fleet.kind]:
                self._runs.popleft().end(Report(Stop.LOST, -signal.SIGKILL, 0.0, b""))
        self._replace()

    def _replace(self) -> None:
        self.stop()
        self.start()

    def _refuse(self, error: SandboxError) -> None:
        """It could not be started; so neither could another."""
        self.stop()
        if self.hello is not None and not self.hello.done():
            self.hello.set_exception(error)
            self.hello.exception()  # seen: only the first zygote's is waited for
        self._fleet.fail(error)


def _report(status: int, cpu_seconds: float, payload: bytes) -> Report:
    """Say how a child ended, from its wait status. SIGALRM is its own clock."""
    stop = Stop.WALL_CLOCK if status == signal.SIGALRM else Stop.NONE
    return Report(stop, os.waitstatus_to_exitcode(status), cpu_seconds, payload)
