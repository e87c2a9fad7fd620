"""What `azr watch` does: polls the logs and draws, or serves the page."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from azr import settings
from azr.analysis.follow import Follower
from azr.config import Config
from azr.domains import registry
from azr.run.directory import CONFIG, EVENTS, RunDirectory
from azr.types import Task
from azr.watch.latest import newest
from azr.watch.server import LiveServer, Picture
from azr.watch.terminal import view

POLL_SECONDS = 1.0


def watch(run: Path, *, once: bool = False) -> None:
    """Show a run on the terminal until Ctrl-C; where there is no terminal, once.

    Args:
        run: the run's folder.
        once: draw it once and return.

    Raises:
        UserError: it is not the folder of a run, or its logs cannot be read.
    """
    console = Console(highlight=False)
    draw = _drawer(run)
    if once or not console.is_terminal:
        console.print(draw())
        return
    try:
        with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                live.update(Group(draw(), Text(), Text("Ctrl-C ends; the run goes on", style="dim")), refresh=True)
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        console.print(draw())


def serve(run: Path, port: int) -> None:
    """Serve the page of a run until Ctrl-C.

    Args:
        run: the run's folder.
        port: 0 for any that is free.

    Raises:
        UserError: it is not the folder of a run, or the port is taken.
    """
    console = Console(highlight=False)
    picture = Picture(run)
    try:
        with LiveServer(picture, port) as server:
            picture.page()  # the first takes seconds: better here, where it is told of, than in a browser that waits
            console.print(Text(f"{run.name} is at {server.address} (this machine only); Ctrl-C ends"), soft_wrap=True)
            while True:
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        console.print("no longer served; the run goes on")


def _drawer(run: Path) -> Callable[[], Group]:
    """What draws a run as it is by now."""
    tree = RunDirectory.open(run).tree()
    config: Config = settings.build(tree, registry.config_class, source=str(run / CONFIG))
    show: Callable[[Task], str] = registry.make_domain(config.domain, config.sandbox).show
    follower = Follower(run, texts=False)

    def draw() -> Group:
        follower.poll()
        events = run / EVENTS
        written = datetime.fromtimestamp(events.stat().st_mtime) if events.is_file() else None
        return view(run.resolve().name, config.steps, follower.analysis, newest(follower), show, written)

    return draw
