"""What training shows: a live table on a terminal, plain lines with a heartbeat elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from azr.analysis.figures import STAGES
from azr.analysis.text import duration, number, rejections, share
from azr.console import can_redraw

HEARTBEAT_SECONDS = 30.0
TICK_SECONDS = 1.0


class LiveScreen:
    """Progress with the remaining time, a row per kind, and the time that each stage took."""

    def __init__(self, console: Console, steps: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn("{task.completed:.0f}/{task.total:.0f} steps"),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        self._bar = self._progress.add_task("starting", total=steps)
        self._live = Live(Group(self._progress), console=console, refresh_per_second=4)

    def __enter__(self) -> LiveScreen:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def say(self, line: str) -> None:
        """Print above the table."""
        self._live.console.print(Text(line))

    def doing(self, what: str) -> None:
        """Set what the run is doing right now."""
        self._progress.update(self._bar, description=escape(what))

    def step(self, metrics: Mapping[str, Any]) -> None:
        """Show the metrics of a completed step."""
        self._progress.update(self._bar, completed=metrics["step"])
        self._live.update(self._view(metrics))

    def _view(self, metrics: Mapping[str, Any]) -> Group:
        table = Table(box=None, pad_edge=False)
        table.add_column("kind", no_wrap=True)  # a narrow terminal shrinks the columns that can wrap
        for heading in ("valid", "solve rate", "learnability", "tasks"):
            table.add_column(heading, justify="right")
        table.add_column("most rejected for")
        for kind, values in metrics["kinds"].items():
            table.add_row(
                kind,
                share(values["valid"]),
                share(values["solve_rate"]),
                number(values["learnability"]),
                str(values["buffer"]),
                rejections(values["proposals"], most=3),
            )
        alarms = [Text(f"! {alarm}", style="yellow") for alarm in metrics["alarms"]]
        return Group(self._progress, table, Text(times(metrics), style="dim"), *alarms)


class PlainScreen:
    """One line per step, and a heartbeat after half a minute without output."""

    def __init__(self, console: Console, steps: int) -> None:
        self._console, self._steps = console, steps
        self._what, self._first_step, self._steps_here = "starting", 0.0, 0
        self._began = self._spoke = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="azr-heartbeat")

    def __enter__(self) -> PlainScreen:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def say(self, line: str) -> None:
        """Print a line."""
        self._spoke = time.monotonic()
        self._console.print(Text(line), soft_wrap=True)

    def doing(self, what: str) -> None:
        """Remember it for the heartbeat."""
        self._what = what

    def step(self, metrics: Mapping[str, Any]) -> None:
        """Print the step in one line."""
        now = time.monotonic()
        if not self._steps_here:  # leave out what came before, such as seeding
            self._first_step = now - metrics["seconds"]["step"]
        self._steps_here += 1
        left = (now - self._first_step) / self._steps_here * (self._steps - metrics["step"])
        kinds = "  ".join(
            f"{kind} valid {share(values['valid'])} solved {share(values['solve_rate'])}"
            f" learnability {number(values['learnability'])}"
            for kind, values in metrics["kinds"].items()
        )
        self.say(f"step {metrics['step']}/{self._steps}  {kinds}  {times(metrics)}  {duration(left)} left")
        for alarm in metrics["alarms"]:
            self.say(f"  ! {alarm}")

    def _beat(self) -> None:
        while not self._stop.wait(TICK_SECONDS):
            if time.monotonic() - self._spoke >= HEARTBEAT_SECONDS:
                with suppress(OSError):  # the next line of the run itself fails too, and ends it
                    self.say(f"... {self._what}, {duration(time.monotonic() - self._began)} since the start")


Screen = LiveScreen | PlainScreen


def make_screen(steps: int, console: Console) -> Screen:
    """A live table if the console can be redrawn, else plain lines."""
    return LiveScreen(console, steps) if can_redraw(console.file) else PlainScreen(console, steps)


def times(metrics: Mapping[str, Any]) -> str:
    """Seconds of a step, and the share of each stage."""
    seconds, total = metrics["seconds"], metrics["seconds"]["step"]
    parts = ", ".join(f"{stage} {seconds[stage] / total:.0%}" for stage in STAGES if stage in seconds) if total else ""
    return f"{total:.1f} s per step: {parts}"
