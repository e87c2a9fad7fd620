"""`azr runs`: a table of all runs in a folder."""

import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from azr.analysis.runs import summaries
from azr.analysis.text import duration, visible
from azr.errors import UserError


def runs_table(folder: Path) -> Table:
    """All runs in a folder, the one that was written to last first.

    Raises:
        UserError: there are none.
    """
    found = summaries(folder)
    if not found:
        raise UserError(f"{folder}: no runs there; start one with: azr train demo")
    table = Table(box=None, pad_edge=False)
    table.add_column("run", overflow="fold")
    for heading in ("steps", "gain", "state", "age"):
        table.add_column(heading, justify="left" if heading == "state" else "right", no_wrap=True)
    forked = any(run.parent for run in found)
    if forked:
        table.add_column("forked from", overflow="fold")
    for run in found:
        cells = (
            visible(str(run.path.relative_to(folder))),
            f"{run.steps} of {run.planned}",
            "-" if run.gain is None else f"{100 * run.gain:+.1f}",
            run.state,
            duration(max(0.0, time.time() - run.changed)),
            *([run.parent or ""] if forked else []),
        )
        table.add_row(*map(Text, cells))
    return table


def show(folder: Path) -> None:
    """Print the table, in full width if the output is not a terminal."""
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(runs_table(folder))
