"""`azr watch`: polls the logs of a run and draws it, or serves its page."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from azr.analysis.run import Follower
from azr.console import can_redraw
from azr.domains import registry
from azr.run.directory import RunDirectory
from azr.watch.server import LivePage, LiveServer
from azr.watch.terminal import view

POLL_SECONDS = 1.0


def watch(run: Path, *, once: bool = False) -> None:
    """Show the run in folder `run` on the terminal until Ctrl-C; with `once`, or without a terminal, draw it once.

    Raises:
        UserError: not the folder of a run, or its logs cannot be read.
    """
    console = Console(highlight=False)
    config = RunDirectory.open(run).config()
    show = registry.make_domain(config.domain, config.sandbox).show
    follower = Follower(run, texts=False)

    def draw() -> Group:
        follower.poll()
        return view(follower, config.steps, show)

    if once or not can_redraw(console.file):
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
    """Serve the page of the run in folder `run` until Ctrl-C; port 0 chooses a free one.

    Raises:
        UserError: not the folder of a run, or the port is taken.
    """
    console = Console(highlight=False)
    page = LivePage(run)
    try:
        with LiveServer(page, port) as server:
            page.html()  # the first takes seconds, so render it before a browser waits for it
            console.print(Text(f"{run.name} is at {server.address} (this machine only); Ctrl-C ends"), soft_wrap=True)
            while True:
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        console.print("no longer served; the run goes on")
