"""A subprocess for every job, with resource limits and nothing else: for development on systems without a jail.

It contains accidents: a crash, an endless loop and, if the system has that limit, a memory bomb. It does not stop a
malicious program, which has access to this user's files, network and processes.
"""

import sys

from azr.sandbox.backends.subprocesses import SubprocessSandbox
from azr.sandbox.base import SandboxError


class UnsafeSubprocessSandbox(SubprocessSandbox):
    """Runs each job in a new interpreter under this user's own rights.

    Args:
        workers: processes that run at once; None for one per core.
        allow_unsafe: must be True: accepts that the model's programs may harm this machine.

    Raises:
        SandboxError: `allow_unsafe` is False, or the system has no process groups.
    """

    def __init__(self, *, workers: int | None = None, allow_unsafe: bool = False) -> None:
        if not allow_unsafe:
            raise SandboxError(
                "backend 'unsafe' runs the model's programs with your own rights: use 'docker' or 'remote', "
                "or accept the risk with sandbox.allow_unsafe = true"
            )
        if sys.platform == "win32":
            raise SandboxError("backend 'unsafe' needs a POSIX system: use sandbox.backend = 'docker' or 'remote'")
        super().__init__(workers=workers)
