"""Thousands of jobs while the processes of a sandbox are killed at random: `python -m tests.sandbox.chaos --jobs 3000`.

A thread of the host keeps the interpreter busy. Programs end at once, a while later, or around their deadlines with
their own clock stopped. It ends with status 0 if every outcome is the job's own value or a reason, and prints what is
not. Where nothing ends for a long time it prints what hangs and ends with status 1.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import faulthandler
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

from azr.sandbox import Job, Limits, LocalSandbox, Mode, Outcome, Reason
from azr.sandbox.host.local import Tier
from tests.sandbox.test_hostile import descendants

_HANGS = 240.0
"""Seconds without an outcome after which it is taken to hang."""

_AT_ONCE = 64
_WALL_SECONDS = 0.2
_REASONS = {Reason.TIMEOUT, Reason.CRASHED}
_BRIEF = Limits(wall_seconds=_WALL_SECONDS)

_PLAIN = "def f(x): return [x, 'plain', {number}]"
_FULL = "import decimal\ndef f(x): return [x, 'full', {number}]"
_NAPPING = "import time\ndef f(x):\n    time.sleep(0.02 * x)\n    return [x, 'napping', {number}]"
_AT_THE_DEADLINE = (
    "import signal, time\nsignal.setitimer(signal.ITIMER_REAL, 0)\nend = time.monotonic() + {seconds}\n"
    "def f(x):\n    if x: time.sleep(max(0, end - time.monotonic()))\n    return [x, 'late', {number}]"
)
_ENDLESS = (
    "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0)\n"
    "def f(x):\n    while x: pass\n    return [x, 'endless', {number}]"
)
_SCRIPT = "import os, time\nx = int(input())\ntime.sleep(0.02 * x)\nos.write(1, b\"[%d, 'script', {number}]\" % x)"
_KINDS = (_PLAIN,) * 9 + (_FULL,) * 3 + (_NAPPING,) * 4 + (_SCRIPT,) * 3 + (_AT_THE_DEADLINE,)


def jobs(count: int, rng: random.Random) -> Iterator[tuple[Job, list[str]]]:
    """Make jobs, each with the values that are its own: no two jobs share one."""
    for number in range(count):
        # The host's deadline comes a quarter of a second after the job's own, a little later where it is busy.
        kind = _ENDLESS if number % 200 == 199 else rng.choice(_KINDS)
        program = kind.replace("{seconds}", f"{_WALL_SECONDS + rng.uniform(0.24, 0.29):.4f}")
        word = kind.partition("'")[2].partition("'")[0]
        limits = _BRIEF if kind in (_AT_THE_DEADLINE, _ENDLESS) else Limits(wall_seconds=20.0)
        mode = Mode.SCRIPT if kind is _SCRIPT else Mode.CALL
        text = program.replace("{number}", str(number))
        job = Job(text, ("0", "1"), mode=mode, limits=limits, determinism=number % 3 == 0)
        yield job, [f"[{x}, '{word}', {number}]" for x in (0, 1)]


class Chaos:
    """A sandbox, those who disturb it, and what came of it."""

    def __init__(self, count: int, seed: int, tier: Tier) -> None:
        self.count = count
        self.rng = random.Random(seed)
        self.sandbox = LocalSandbox(tier=tier)
        self.running: dict[int, Job] = {}
        self.reasons: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.killed = 0
        self.ended = threading.Event()
        self.last = time.monotonic()

    async def run(self) -> None:
        """Run all jobs, some at a time."""
        for kind in ("", "import signal\n"):  # so that every zygote stands
            await self.sandbox.run(Job(f"{kind}def f(): return 1", determinism=True))
        await self.sandbox.run(Job("print(1)", mode=Mode.SCRIPT, determinism=True))
        threads = [threading.Thread(target=one) for one in (self._spin, self._kill, self._watch)]
        for thread in threads:
            thread.start()
        waiting = iter(list(enumerate(jobs(self.count, self.rng))))
        try:
            await asyncio.gather(*(self._work(waiting) for _ in range(_AT_ONCE)))
        finally:
            self.ended.set()
            for thread in threads:
                thread.join()
        await self.sandbox.close()
        if left := descendants():
            self.wrong.append(f"processes that outlived their sandbox: {left}")

    async def _work(self, waiting: Iterator[tuple[int, tuple[Job, list[str]]]]) -> None:
        for number, (job, values) in waiting:
            self.running[number] = job
            try:
                self._judge(job, await self.sandbox.run(job), values)
            except Exception as error:
                self.wrong.append(f"{type(error).__name__}: {error}\n{job}")
            del self.running[number]
            self.last = time.monotonic()

    def _judge(self, job: Job, found: tuple[Outcome, ...], values: list[str]) -> None:
        if len(found) != len(values):
            self.wrong.append(f"{len(found)} outcomes of {job}")
        for outcome, value in zip(found, values, strict=False):
            self.reasons[outcome.reason or "value"] += 1
            if outcome.value != value if outcome.ok else outcome.reason not in _REASONS:
                self.wrong.append(f"{outcome} and not {value} of {job}")

    # --- threads ---

    def _spin(self) -> None:
        """Compete for the interpreter with short breaks, so that a machine with few processors does other things too."""
        while not self.ended.is_set():
            until = time.monotonic() + 0.05
            while time.monotonic() < until:
                pass
            time.sleep(0.02)

    def _kill(self) -> None:
        """Kill any process of the sandbox every now and then: guards, zygotes, children, checkers."""
        rng = random.Random(self.rng.random())
        while not self.ended.wait(rng.uniform(0.05, 0.4)):
            family = descendants()
            if family:
                victim = rng.choice(family)
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                    self.killed += 1

    def _watch(self) -> None:
        while not self.ended.wait(1.0):
            if time.monotonic() - self.last > _HANGS:
                print(f"nothing has ended for {_HANGS:g} s; running: {self.running}", flush=True)
                for fleet in self.sandbox._home._fleets.values() if self.sandbox._home else ():
                    print(fleet.kind, fleet.seed, fleet._waiting, [vars(one) for one in fleet._zygotes], flush=True)
                faulthandler.dump_traceback(sys.stdout)
                os._exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tier", choices=["auto", "full", "seccomp"], default="auto")
    arguments = parser.parse_args()
    chaos = Chaos(arguments.jobs, arguments.seed, arguments.tier)
    start = time.monotonic()
    asyncio.run(chaos.run())
    print(f"{arguments.jobs} jobs in {time.monotonic() - start:.0f} s, {chaos.killed} processes killed")
    print(f"outcomes: {dict(chaos.reasons)}; wrong: {len(chaos.wrong)}")
    print(*chaos.wrong[:20], sep="\n")
    sys.exit(bool(chaos.wrong))


if __name__ == "__main__":
    main()
