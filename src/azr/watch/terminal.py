"""`azr watch RUN` on the terminal: progress, rates by kind, curves, alarms, the newest tasks."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from azr.analysis.alarms import Alarm
from azr.analysis.figures import StepFigures
from azr.analysis.held_out import Evaluation
from azr.analysis.run import Analysis, Follower
from azr.analysis.text import duration, number, rejections, share, visible
from azr.run.directory import EVENTS
from azr.run.log import TOKENS, Log
from azr.selfplay.buffer import task_from_json
from azr.types import Kind, Task

BARS, FLAT = "▁▂▃▄▅▆▇█", "─"
WIDTH = 40
"""Columns of a curve. If there are more steps, each column is the mean of several."""
NARROW = 11
"""Columns of a curve beside a rate."""
LAST = 10
"""Steps from which the remaining time is estimated."""
TASK_LINES = 14
RATES = (("valid", "valid", share), ("solve rate", "solve_rate", share), ("learnability", "learnability", number))
LEARNER = (("entropy", "entropy (nats)"), ("mismatch_kl", "mismatch KL (nats)"), ("grad_norm", "gradient norm"))


@dataclass(frozen=True, slots=True)
class Newest:
    """A task, the results of its attempts, and its proposal's reward (None if nothing was learnt from it)."""

    task: Task
    solved: int
    attempts: int
    reward: float | None


def newest(follower: Follower) -> dict[Kind, Newest]:
    """The last task of each kind that the last complete step admitted to the buffer."""
    if not follower.analysis.steps:
        return {}
    step = follower.analysis.steps[-1].step
    columns = follower.analysis.family.columns
    rows = {columns["task"][row]: row for row in range(len(columns["step"])) if columns["step"][row] == step}
    found: dict[Kind, Newest] = {}
    for _, event in Log(follower.run / EVENTS, skip=TOKENS, offset=follower.offsets[step]).new():
        if event.get("step") != step:
            break
        if event.get("event") == "task" and event["admitted"] and event["task"]["id"] in rows:
            results = (columns[name][rows[event["task"]["id"]]] for name in ("solved", "attempts", "reward"))
            found[event["task"]["kind"]] = Newest(task_from_json(event["task"]), *results)
    return found


def view(follower: Follower, steps: int, show: Callable[[Task], str]) -> Group:
    """A run of `steps` steps, as it was last polled; `show` of its domain writes a task."""
    analysis = follower.analysis
    parts: list[RenderableType] = [_head(follower.run, steps, analysis)]
    if analysis.steps:
        parts += [Text(), _kinds(analysis.steps), Text(), _curves(analysis)]
    if evaluations := analysis.evaluations():
        parts += [Text(), _held_out(evaluations, analysis.guess)]
    if alarms := analysis.alarms():
        parts += [Text(), *_alarms(alarms)]
    if tasks := newest(follower):
        parts += [Text(), _tasks(tasks, show)]
    return Group(*parts)


def sparkline(values: Sequence[float | None], width: int = WIDTH) -> str:
    """Values as bars, from the smallest to the largest; a flat line if all are equal; a space if one is missing."""
    columns = list(_columns(values, width))
    known = [value for value in columns if value is not None]
    if not known:
        return ""
    low, spread = min(known), max(known) - min(known)
    top = len(BARS) - 1
    return "".join(
        " " if value is None else BARS[round((value - low) / spread * top)] if spread else FLAT for value in columns
    )


def _columns(values: Sequence[float | None], width: int) -> Iterator[float | None]:
    """At most `width` means of equally many values each."""
    size = max(1, -(-len(values) // width))
    for first in range(0, len(values), size):
        known = [value for value in values[first : first + size] if value is not None]
        yield sum(known) / len(known) if known else None


def _head(run: Path, steps: int, analysis: Analysis) -> Table:
    done = analysis.steps[-1].step if analysis.steps else 0
    bar, state = ProgressBar(total=steps, completed=done, width=WIDTH), _state(run / EVENTS, done, steps, analysis)
    table = Table.grid(padding=(0, 2))
    table.add_row(Text(run.resolve().name, style="bold"), bar, f"step {done} of {steps}", Text(state, style="dim"))
    return table


def _state(events: Path, done: int, steps: int, analysis: Analysis) -> str:
    if done >= steps:
        return "all steps are done"
    if not events.is_file():
        return "nothing is written yet"
    ago = duration(time.time() - events.stat().st_mtime)
    if not analysis.steps:
        return f"seeding, last event {ago} ago"
    spent = [analysis.seconds.get(step.step, {}).get("step") for step in analysis.steps[-LAST:]]
    recent = [seconds for seconds in spent if seconds is not None]
    left = f"{duration(sum(recent) / len(recent) * (steps - done))} left, " if recent else ""
    return f"{left}last event {ago} ago"


def _kinds(done: Sequence[StepFigures]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("kind", no_wrap=True)  # a narrow terminal shrinks the columns that can wrap
    for heading in (*(title for title, _, _ in RATES), "most rejected for"):
        table.add_column(heading)
    for kind, now in done[-1].kinds.items():
        figures = [step.kinds.get(kind) for step in done]
        cells = []
        for _, name, shown in RATES:
            values = [None if found is None else getattr(found, name) for found in figures]
            cells.append(Text.assemble(f"{shown(values[-1]):>4} ", (sparkline(values, NARROW), "cyan")))
        table.add_row(kind, *cells, rejections(now.reasons, most=2))
    return table


def _curves(analysis: Analysis) -> Table:
    done, table = analysis.steps, Table(box=None, pad_edge=False, show_header=False)
    rows: list[tuple[str, str, list[float | None]]] = [
        (f"reward, {role}", "+.3f", [step.roles[role].reward if role in step.roles else None for step in done])
        for role in ("propose", "solve")
    ]
    rows += [(title, ".3g", [step.learner.get(name) for step in done]) for name, title in LEARNER]
    rows.append(("seconds per step", ".1f", [analysis.seconds.get(step.step, {}).get("step") for step in done]))
    for title, shape, values in rows:
        if values[-1] is not None:
            table.add_row(Text(title, style="dim"), format(values[-1], shape), Text(sparkline(values), style="cyan"))
    return table


def _held_out(evaluations: Sequence[Evaluation], guess: float | None) -> Text:
    last = evaluations[-1]
    text = Text("held-out accuracy  ", style="bold")
    text.append(f"after step {last.step}: {last.in_words(guess)}", style="default")
    text.append("  " + sparkline([found.accuracy for found in evaluations]), style="cyan")
    return text


def _alarms(alarms: Sequence[Alarm]) -> Iterator[Text]:
    """Those that last, then the two newest that are over."""
    over = sorted((alarm for alarm in alarms if alarm.until is not None), key=lambda alarm: alarm.since)[-2:]
    for alarm in [alarm for alarm in alarms if alarm.until is None] + over:
        yield Text(f"! {visible(alarm.text)}", style="dim" if alarm in over else "bold yellow")


def _tasks(tasks: Mapping[Kind, Newest], show: Callable[[Task], str]) -> Table:
    """Side by side, one column per kind."""
    table = Table.grid(expand=True, padding=(0, 1))
    panels = []
    for kind, found in tasks.items():
        lines = visible(show(found.task).strip()).splitlines()
        more = [f"... {len(lines) - TASK_LINES} more lines"] if len(lines) > TASK_LINES else []
        reward = "" if found.reward is None else f", reward {found.reward:+.2f}"
        results = f"{found.solved} of {found.attempts} right{reward}"
        panel = Panel(Text("\n".join(lines[:TASK_LINES] + more)), title=f"newest {kind}", subtitle=results)
        panel.title_align, panel.subtitle_align, panel.border_style = "left", "left", "dim"
        panels.append(panel)
        table.add_column(ratio=1)
    table.add_row(*panels)
    return table
