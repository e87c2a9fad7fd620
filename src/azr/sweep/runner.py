"""Trains the runs of a sweep side by side, each in a process of `azr train` that outlives a sweep that is killed."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TextIO

from azr.config import Config
from azr.models import shipped
from azr.run.directory import explained
from azr.sweep.folder import Place
from azr.sweep.grid import Sweep
from azr.train.stopping import Stop

LOG, LOCK = "log.txt", ".lock"
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Machine:
    """What the runs share.

    Attributes:
        cores: that this process may use.
        gpus: numbers of the GPUs, as in CUDA_VISIBLE_DEVICES; empty: the runs use the CPU.
        jobs: runs at a time.
    """

    cores: int
    gpus: Sequence[str]
    jobs: int

    def words(self, config: Config) -> list[str]:
        """Settings that give each of several runs its share of the cores, unless its configuration has its own."""
        share = max(1, self.cores // self.jobs)
        small = config.model.name in shipped.MODELS  # more threads than one do not help them
        shares = {"threads": 1 if small else share}
        if config.sandbox.backend != "remote":  # whose workers are on other machines
            shares["sandbox.workers"] = share
        own = {"threads": config.threads, "sandbox.workers": config.sandbox.workers}
        return [f"{key}={count}" for key, count in shares.items() if self.jobs > 1 and own[key] is None]

    def environment(self, slot: int) -> dict[str, str]:
        """Environment of the run in a slot, 0 to jobs - 1: one GPU, if there are any."""
        gpu = {"CUDA_VISIBLE_DEVICES": self.gpus[slot % len(self.gpus)]} if self.gpus else {}
        return {**os.environ, **gpu}


class Runner:
    """Trains what is not finished.

    Args:
        sweep: what the runs have in common, and their settings.
        configs: configuration of each setting.
        machine: what they share.
        say: called with a line about each run that ends.
    """

    def __init__(
        self, sweep: Sweep, configs: Mapping[str, Config], machine: Machine, say: Callable[[str], None]
    ) -> None:
        self._sweep, self._configs, self._machine, self._say = sweep, configs, machine, say
        self._slots: asyncio.Queue[int] = asyncio.Queue()
        self._failed: dict[str, str] = {}

    async def run(self, places: Sequence[Place]) -> Mapping[str, str]:
        """Train all runs.

        Returns:
            the last line of the log of each run that failed.

        Raises:
            Stopped: Ctrl-C or SIGTERM; every run that was in progress has saved its state and ended.
        """
        for slot in range(self._machine.jobs):
            self._slots.put_nowait(slot)
        stop = Stop(lambda: self._say("stopping; each run saves its state. Press Ctrl-C again to stop without saving"))
        with stop.on_signals():
            await stop.unless(self._all(places))
        return self._failed

    async def _all(self, places: Sequence[Place]) -> None:
        await asyncio.gather(*map(self._one, places))

    async def _one(self, place: Place) -> None:
        slot = await self._slots.get()
        try:
            async with _held(place, self._say) as lock:
                found = place.run()
                if found is not None and found.state == "finished":
                    self._say(f"{place.title}: finished before")
                else:
                    await self._train(place, found.path if found else None, slot, lock)
        finally:
            self._slots.put_nowait(slot)

    async def _train(self, place: Place, run: Path | None, slot: int, lock: TextIO) -> None:
        given = [*self._sweep.settings[place.setting], *self._sweep.words]
        share = self._machine.words(self._configs[place.setting])
        if run is None:
            words = [self._sweep.source, f"seed={place.seed}", f"output_dir={place.folder.resolve()}", *given, *share]
        else:
            words = ["--resume", str(run), *share]
        self._say(f"{place.title}: {'started' if run is None else 'resumed'}")
        with explained(place.folder), (place.folder / LOG).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "azr", "train", *words),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._machine.environment(slot),
                pass_fds=[lock.fileno()],  # locked until the run has ended, even if this process is killed
                start_new_session=True,  # Ctrl-C reaches this process alone
            )
        code = await _end(process)
        done = place.run()
        if code == 0 and done is not None and done.state == "finished":
            gained = "" if done.gain is None else f", gain {100 * done.gain:+.1f} points"
            self._say(f"{place.title}: finished{gained}")
        else:
            lines = (place.folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
            self._failed[place.title] = next((line for line in reversed(lines) if line.strip()), f"exit code {code}")
            self._say(f"{place.title}: failed with exit code {code}; see {place.folder / LOG}")


async def _end(process: asyncio.subprocess.Process) -> int:
    """Wait for a run. Every cancellation asks it to stop: the first saves, the second does not."""
    cancelled: asyncio.CancelledError | None = None
    while True:
        try:
            code = await process.wait()
            break
        except asyncio.CancelledError as error:
            cancelled = error
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
    if cancelled is not None:
        raise cancelled
    return code


@asynccontextmanager
async def _held(place: Place, say: Callable[[str], None]) -> AsyncIterator[TextIO]:
    """Lock the folder of a run; first wait for a process that an earlier sweep has left there."""
    with explained(place.folder):
        place.folder.mkdir(parents=True, exist_ok=True)
        lock = (place.folder / LOCK).open("w")
    with lock:
        for attempt in count():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt == 0:
                    say(f"{place.title}: in progress already; waiting for it")
                await asyncio.sleep(POLL_SECONDS)
        yield lock
