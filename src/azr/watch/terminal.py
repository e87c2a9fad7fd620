"""`azr watch RUN` on the terminal: where the run stands, rates by kind, curves, alarms, the newest tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from azr.analysis.alarms import Alarm
from azr.analysis.figures import StepFigures
from azr.analysis.held_out import Evaluation
from azr.analysis.run import Analysis
from azr.analysis.text import duration, number, share, visible
from azr.types import Kind, Task
from azr.watch.latest import Newest

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 40
"""Steps that a curve shows, the newest; of a longer run each column is the mean of several."""
LAST = 10
"""Steps that the remaining time is reckoned from."""
NARROW = 11
"""The same, beside a rate."""
TASK_LINES = 14
RATES = (("valid", "valid", share), ("solve rate", "solve_rate", share), ("learnability", "learnability", number))
LEARNER = (("entropy", "entropy (nats)"), ("mismatch_kl", "mismatch KL (nats)"), ("grad_norm", "gradient norm"))


def view(
    name: str,
    steps: int,
    analysis: Analysis,
    tasks: Mapping[Kind, Newest],
    show: Callable[[Task], str],
    written: datetime | None,
) -> Group:
    """Everything that is known by now.

    Args:
        name: of the run.
        steps: where it is to go.
        analysis: of its logs.
        tasks: the newest, by kind.
        show: writes a task for people.
        written: when its events were written last; None where there are none.
    """
    done = analysis.steps
    parts: list[RenderableType] = [_head(name, steps, analysis, written)]
    if done:
        parts += [Text(), _kinds(done), Text(), _curves(analysis)]
    if evaluations := analysis.evaluations():
        parts += [Text(), _held_out(evaluations, analysis.guess)]
    if alarms := analysis.alarms():
        parts += [Text(), *_alarms(alarms)]
    if tasks:
        parts += [Text(), _tasks(tasks, show)]
    return Group(*parts)


def sparkline(values: Sequence[float | None], width: int = WIDTH) -> str:
    """Values as a row of bars from their least to their largest; a space where nothing was measured."""
    columns = list(_columns(values, width))
    known = [value for value in columns if value is not None]
    if not known:
        return ""
    low, spread = min(known), max(known) - min(known)
    top = len(BARS) - 1
    return "".join(
        " " if value is None else BARS[round((value - low) / spread * top) if spread else top // 2] for value in columns
    )


def _columns(values: Sequence[float | None], width: int) -> Iterator[float | None]:
    """At most `width` means of equally many values each."""
    size = max(1, -(-len(values) // width))
    for first in range(0, len(values), size):
        known = [value for value in values[first : first + size] if value is not None]
        yield sum(known) / len(known) if known else None


def _head(name: str, steps: int, analysis: Analysis, written: datetime | None) -> Table:
    done = analysis.steps[-1].step if analysis.steps else 0
    table = Table.grid(padding=(0, 2))
    table.add_row(
        Text(name, style="bold"),
        ProgressBar(total=steps, completed=done, width=WIDTH),
        Text(f"step {done} of {steps}"),
        Text(_state(done, steps, analysis, written), style="dim"),
    )
    return table


def _state(done: int, steps: int, analysis: Analysis, written: datetime | None) -> str:
    if done >= steps:
        return "all steps are done"
    if written is None:
        return "nothing is written yet"
    ago = duration((datetime.now() - written).total_seconds())
    if not analysis.steps:
        return f"seeding, last event {ago} ago"
    spent = [analysis.seconds.get(step.step, {}).get("step") for step in analysis.steps[-LAST:]]
    recent = [seconds for seconds in spent if seconds is not None]
    left = f"{duration(sum(recent) / len(recent) * (steps - done))} left, " if recent else ""
    return f"{left}last event {ago} ago"


def _kinds(done: Sequence[StepFigures]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("kind", no_wrap=True)  # a narrow terminal takes from what can be wrapped
    for heading in (*(title for title, _, _ in RATES), "most rejected for"):
        table.add_column(heading)
    for kind, now in done[-1].kinds.items():
        figures = [step.kinds.get(kind) for step in done]
        rejected = [(reason, count) for reason, count in now.reasons.items() if reason != "accepted"]
        rejected.sort(key=lambda item: -item[1])
        cells = []
        for _, name, shown in RATES:
            values = [None if found is None else getattr(found, name) for found in figures]
            cells.append(Text.assemble(f"{shown(values[-1]):>4} ", (sparkline(values, NARROW), "cyan")))
        table.add_row(kind, *cells, ", ".join(f"{visible(reason)} {count}" for reason, count in rejected[:2]))
    return table


def _curves(analysis: Analysis) -> Table:
    done, table = analysis.steps, Table(box=None, pad_edge=False, show_header=False)
    rows: list[tuple[str, str, list[float | None]]] = [
        (f"reward, {role}", "+.3f", [step.roles[role].reward if role in step.roles else None for step in done])
        for role in ("propose", "solve")
    ]
    rows += [(title, ".3g", [step.learner.get(name) for step in done]) for name, title in LEARNER]
    rows.append(("seconds a step", ".1f", [analysis.seconds.get(step.step, {}).get("step") for step in done]))
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
    """Those that last, then the newest of those that are over."""
    over = sorted((alarm for alarm in alarms if alarm.until is not None), key=lambda alarm: alarm.since)[-2:]
    for alarm in [alarm for alarm in alarms if alarm.until is None] + over:
        yield Text(f"! {visible(alarm.text)}", style="dim" if alarm in over else "bold yellow")


def _tasks(tasks: Mapping[Kind, Newest], show: Callable[[Task], str]) -> Table:
    """Side by side, a column a kind."""
    table = Table.grid(expand=True, padding=(0, 1))
    panels = []
    for kind, found in tasks.items():
        lines = visible(show(found.task).strip()).splitlines()
        more = [f"... {len(lines) - TASK_LINES} more lines"] if len(lines) > TASK_LINES else []
        reward = "" if found.reward is None else f", {found.reward:+.2f}"
        fared = f"{found.solved} of {found.attempts} right{reward}"
        panels.append(
            Panel(
                Text("\n".join(lines[:TASK_LINES] + more)),
                title=f"newest {kind}",
                subtitle=fared,
                title_align="left",
                subtitle_align="left",
                border_style="dim",
            )
        )
        table.add_column(ratio=1)
    table.add_row(*panels)
    return table
