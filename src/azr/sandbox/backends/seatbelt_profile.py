"""What Seatbelt allows a job's process on macOS, in its profile language; later rules win.

Nobody has run this profile on a Mac yet.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from azr.sandbox.base import SandboxError

# `system.sb` is Apple's own list of what any process needs in order to start, which changes with macOS. What it allows
# beyond that is denied again after it.
_TEXT = """\
(version 1)
(deny default)
(import "system.sb")

(deny network* system-socket)
(deny mach-lookup mach-register)
(deny ipc-posix* ipc-sysv*)
(deny iokit-open)
(deny sysctl-write)
(deny file-write*)
(deny file-read*
  (subpath "/private/etc")
  (subpath "/private/var/folders")
  (subpath "/private/tmp")
  (subpath "/Library")
  (subpath "/Users")
  (subpath "/Volumes"))
(deny process-exec*)
({fork} process-fork)
(deny signal)
(deny process-info*)

(allow process-exec {interpreters})
(allow process-info* (target self))
(allow signal (target self))
(allow sysctl-read)
(allow file-read-metadata {ancestors})
(allow file-read* file-map-executable {readable})
(deny file-read* file-map-executable (regex #"/(site|dist)-packages(/|$)"))
(allow file-write-data (literal "/dev/null"))
{files}
"""


def command(sandbox_exec: str, *, files: Sequence[Path]) -> tuple[list[str], str]:
    """Return the command that confines an interpreter, and the interpreter.

    `files` may be read and written. With them, the process may fork: it supervises a script.

    Raises:
        SandboxError: Python is installed in a folder that holds more than Python.
    """
    interpreters, prefix = _interpreters(), _installation()
    parameters = {
        **{f"INTERPRETER_{number}": path for number, path in enumerate(interpreters)},
        **{f"ANCESTOR_{number}": path for number, path in enumerate(_ancestors([*interpreters, *prefix, *files]))},
        **{f"READABLE_{number}": path for number, path in enumerate(prefix)},
        **{f"FILE_{number}": path for number, path in enumerate(files)},
    }

    def rules(kind: str, name: str) -> str:
        return " ".join(f'({kind} (param "{key}"))' for key in parameters if key.startswith(name))

    text = _TEXT.format(
        fork="allow" if files else "deny",
        interpreters=rules("literal", "INTERPRETER"),
        ancestors=rules("literal", "ANCESTOR"),
        readable=f"{rules('literal', 'INTERPRETER')} {rules('subpath', 'READABLE')}",
        files=f"(allow file-read* file-write-data {rules('literal', 'FILE')})" if files else "",
    )
    definitions = [word for key, path in parameters.items() for word in ("-D", f"{key}={path}")]
    return [sandbox_exec, "-p", text.strip() + "\n", *definitions], str(interpreters[0])


def _interpreters() -> list[Path]:
    """The interpreter without its virtual environment, and the program that a framework's stub replaces itself with."""
    python = Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()
    stub = Path(sys.base_prefix).resolve() / "Resources/Python.app/Contents/MacOS/Python"
    return [python, *([stub] if stub.is_file() else [])]


def _installation() -> list[Path]:
    """The folders of Python's installation.

    Raises:
        SandboxError: one of them is the root or above the home folder, so programs could read everything.
    """
    folders = list(dict.fromkeys(Path(prefix).resolve() for prefix in (sys.base_prefix, sys.base_exec_prefix)))
    home = Path(os.path.expanduser("~")).resolve()
    for folder in folders:
        if home.is_relative_to(folder):
            raise SandboxError(
                f"backend 'seatbelt' lets programs read Python's installation, which is {folder} and holds your home"
                " folder: use a Python in a folder of its own, or sandbox.backend = 'docker'"
            )
    return folders


def _ancestors(paths: Sequence[Path]) -> list[Path]:
    """The folders on the way to some paths: their names have to be looked up, but not what is in them."""
    return sorted({parent for path in paths for parent in path.parents})
