"""The host's side of one zygote: its pipes, its runs and their clock, and its successor when it dies.

Everything happens in callbacks of the event loop that never block. In a fork of the host they do nothing: it shares the
pipes and the loop's descriptor with its parent.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from azr.sandbox.base import SandboxError
from azr.sandbox.guest.wire import HEADER, NONCE_BYTES, was_killed
from azr.sandbox.host.exchange import Report, Stop
from azr.sandbox.host.remains import Left, Remains
from azr.sandbox.host.spawn import Channels, HostLimitError, read_hello, spawn
from azr.sandbox.jail.rlimits import why_not_started

if TYPE_CHECKING:
    from azr.sandbox.host.fleet import Fleet

AHEAD = {"full": 2, "lean": 2, "script": 2, "checker": 8}
"""The most runs that a zygote of each kind has at once. A checker finishes one before the host sends the next."""

_READ_BYTES = 2**18
_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
"""Seconds before a zygote that failed to start is started again; doubled each time, up to the longest."""


@dataclass(slots=True, eq=False)
class Run:
    """One child's work, or one request to a checker."""

    job: bytes  # without the nonce
    wall_seconds: float  # by the host's clock
    cpu_seconds: int
    ended: asyncio.Future[Report]
    nonce: bytes = field(default_factory=lambda: os.urandom(NONCE_BYTES))  # precedes the job and what comes back
    deaths: int = 0  # of processes while they ran this
    tries: int = 0
    disturbed: bool = False  # whether it was started again

    def end(self, result: Report | SandboxError) -> None:
        """Give the report or the error to the caller, if it still waits and its loop is open."""
        if self.ended.done() or self.ended.get_loop().is_closed():
            return
        if isinstance(result, SandboxError):
            self.ended.set_exception(result)
        else:
            self.ended.set_result(result._replace(disturbed=True) if self.disturbed else result)


class Handle:
    """A zygote of a fleet, and after its death the next one."""

    def __init__(self, fleet: Fleet, cpu: int | None) -> None:
        self._fleet = fleet
        self._cpu = cpu
        self._channels: Channels | None = None
        self._stands = False
        self._starts = 0
        self._again: asyncio.TimerHandle | None = None
        self._runs: deque[Run] = deque()
        self._inbox = bytearray()
        self._outbox = bytearray()
        self._full = False
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def load(self) -> int:
        """Return the number of its runs; a zygote that has not started counts as full."""
        return len(self._runs) if self._stands else AHEAD[self._fleet.kind]

    def start(self) -> None:
        """Start the process."""
        if not self._is_ours():
            return
        self._loop = asyncio.get_running_loop()
        self._again = None
        self._starts += 1
        try:
            self._channels = spawn(self._fleet.kind, self._fleet.tier, cpu=self._cpu, seed=self._fleet.seed)
        except OSError as error:
            reason = f"the sandbox cannot start a process: {why_not_started(error)}"
            self._has_not_started(HostLimitError(reason))
            return
        self._loop.add_reader(self._channels.results, self._on_readable)

    def give(self, run: Run) -> None:
        """Send a run down the pipe."""
        self._runs.append(run)
        if len(self._runs) == 1:
            self._begin()
        self._outbox += run.nonce
        self._outbox += run.job
        self._write()

    def stop(self, on_read: Callable[[Left], None] | None = None) -> None:
        """Have the process killed and forget it; its runs go back to the fleet.

        `on_read` gets what is left in the pipes when nobody can write to them any more.
        """
        for timer in (self._timer, self._again):
            if timer is not None:
                timer.cancel()
        self._timer = self._again = None
        channels, self._channels = self._channels, None
        if channels is None:
            return
        if not self._loop.is_closed():
            self._loop.remove_reader(channels.results)
            self._loop.remove_writer(channels.jobs)
        self._fleet.remains.add(Remains(self._loop, channels, bytes(self._inbox), on_read, self._fleet.remains.discard))
        self._stands = False
        self._inbox.clear()
        self._outbox.clear()
        self._full = False
        self._fleet.take_back(self._runs)
        self._runs.clear()

    def _is_ours(self) -> bool:
        return os.getpid() == self._fleet.pid

    # --- what the pipes bring ---

    def _write(self) -> None:
        """Write as much as the pipe takes; the loop reports when it takes more."""
        if self._channels is None or not self._is_ours():
            return
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
        if self._is_ours():
            self._read()
            self._fleet.dispatch()

    def _read(self) -> bool:
        """Read what has come; whether there may be more."""
        assert self._channels is not None
        try:
            data = os.read(self._channels.results, _READ_BYTES)
        except BlockingIOError:
            return False
        self._inbox += data
        if not self._stands and not self._read_hello(ended=not data):
            return False
        if self._read_frames():
            if data:
                return True
            self._has_died()
        else:  # host and zygote disagree on which run is next
            if self._runs:
                self._fleet.again(self._runs.popleft(), _LOST, died=False)
            self.stop()
            self.start()
        return False

    def _read_hello(self, *, ended: bool) -> bool:
        """Read the first line, if it has come; whether the zygote has started."""
        line, newline, _ = bytes(self._inbox).partition(b"\n")
        if not newline and not ended:
            return False
        del self._inbox[: len(line) + len(newline)]
        try:
            hello = read_hello(line)
        except SandboxError as error:
            self._has_not_started(error, refused=bool(newline))
            return False
        self._starts = 0
        self._stands = True
        self._fleet.stands(hello)
        return True

    def _read_frames(self) -> bool:
        """End the runs that are reported; whether host and zygote still agree on which run is next."""
        at = 0
        agree = True
        while agree and len(self._inbox) >= at + HEADER.size:
            status, length, cpu_seconds = HEADER.unpack_from(self._inbox, at)
            start = at + HEADER.size
            if len(self._inbox) < start + length:
                break
            at = start + length
            # A child that took no job was killed by others; what it left in the pipe may be half a job.
            agree = bool(self._runs) and self._inbox.startswith(self._runs[0].nonce, start, at)
            if agree:
                run = self._runs.popleft()
                # SIGALRM is the child's own clock.
                stop = Stop.WALL_CLOCK if status == signal.SIGALRM else Stop.NONE
                payload = bytes(self._inbox[start + NONCE_BYTES : at])
                report = Report(stop, os.waitstatus_to_exitcode(status), cpu_seconds, payload)
                if was_killed(report.exit_code, cpu_seconds, run.cpu_seconds):
                    self._fleet.again(run, report, died=True)
                else:
                    run.end(report)
                if self._runs:
                    self._begin()
        del self._inbox[:at]
        return agree

    # --- the clock ---

    def _begin(self) -> None:
        """Start the clock of the run at the head."""
        self._deadline = self._loop.time() + self._runs[0].wall_seconds
        # Most runs end long before, so an earlier timer stays and checks the deadline when it goes off.
        if self._timer is not None and self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if not self._runs or not self._is_ours():
            return
        if self._loop.time() >= self._deadline:
            while self._read():  # what came while the loop was busy counts
                pass
        if self._runs and self._timer is None:
            if self._loop.time() >= self._deadline:
                self._time_up()
            else:
                self._timer = self._loop.call_at(self._deadline, self._on_timer)
        self._fleet.dispatch()

    # --- ends ---

    def _time_up(self) -> None:
        """Kill the child together with its zygote, as nothing in the jail is trusted to do it, and start another."""
        run = self._runs.popleft()
        run.disturbed = True

        def end(left: Left) -> None:
            run.end(Report(Stop.WALL_CLOCK, -signal.SIGKILL, 0.0, left.of_run(run.nonce) or b""))

        self.stop(on_read=end)
        self.start()

    def _has_died(self) -> None:
        """Start another, and the run at the head again; its death counts if the run was in progress."""
        run = self._runs.popleft() if self._runs else None

        def again(left: Left) -> None:
            assert run is not None
            ended = len(left.results) >= HEADER.size  # and so it was not the one that was running
            self._fleet.again(run, _LOST, died=not ended and left.of_run(run.nonce) is not None)

        if run is not None and self._fleet.kind == "checker":
            run.end(_LOST)  # nothing tells whether it was in progress; a child takes the job that may be the cause
            run = None
        self.stop(on_read=again if run is not None else None)
        self.start()

    def _has_not_started(self, error: SandboxError, *, refused: bool = False) -> None:
        """Start it again after a pause, unless the fleet gives up."""
        self.stop()
        if not self._fleet.gives_up(error, starts=self._starts, refused=refused):
            pause = min(_PAUSE * 2 ** (self._starts - 1), _LONGEST_PAUSE)
            self._again = self._loop.call_later(pause, self.start)


_LOST = Report(Stop.LOST, -signal.SIGKILL, 0.0, b"")
