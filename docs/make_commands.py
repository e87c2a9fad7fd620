"""Writes docs/commands.md from the command line itself: `python docs/make_commands.py`."""

from __future__ import annotations

import re
from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from azr.cli import app

TARGET = Path(__file__).with_name("commands.md")
HEAD = """\
# Commands

Every command answers `--help`. Words of the form `key.sub=value` are keys of [the configuration](configuration.md);
[exit codes](resume.md#exit-codes) stand with resuming.

This page is made from the code by `python docs/make_commands.py`; a test holds it to that.
"""
SELF_EVIDENT = "* `--help`: Show this message and exit.\n"


def page() -> str:
    """The whole page."""
    command = typer.main.get_command(app)
    whole = get_docs_for_click(obj=command, ctx=typer.Context(command), name="azr")
    commands = whole[whole.index("\n## ") :]
    commands = commands.replace(SELF_EVIDENT, "").replace("**Options**:\n\n\n", "")
    commands = re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+\n", "", commands)  # its summaries are cut in the middle
    return f"{HEAD}{commands.rstrip()}\n"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
