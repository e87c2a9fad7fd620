"""A sandbox for programs that a model wrote. It can be used alone: `docs/sandbox.md` has the threat model.

    sandbox = LocalSandbox()
    outcomes = await sandbox.run(Job(program="def f(x): return x + 1", inputs=("1", "41")))
    await sandbox.close()

Importing this package imports no backend: each is loaded when its name is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azr.sandbox.backends.docker import DockerSandbox
    from azr.sandbox.backends.remote import RemoteSandbox
    from azr.sandbox.backends.seatbelt import SeatbeltSandbox
    from azr.sandbox.backends.unsafe import UnsafeSubprocessSandbox
    from azr.sandbox.base import Job, Limits, Mode, Outcome, Policy, Reason, Sandbox, SandboxError
    from azr.sandbox.factory import make_sandbox
    from azr.sandbox.host.local import LocalSandbox
    from azr.sandbox.memo import MemoSandbox

__all__ = [
    "DockerSandbox",
    "Job",
    "Limits",
    "LocalSandbox",
    "MemoSandbox",
    "Mode",
    "Outcome",
    "Policy",
    "Reason",
    "RemoteSandbox",
    "Sandbox",
    "SandboxError",
    "SeatbeltSandbox",
    "UnsafeSubprocessSandbox",
    "make_sandbox",
]

_HOMES = {
    "DockerSandbox": "backends.docker",
    "LocalSandbox": "host.local",
    "MemoSandbox": "memo",
    "RemoteSandbox": "backends.remote",
    "SeatbeltSandbox": "backends.seatbelt",
    "UnsafeSubprocessSandbox": "backends.unsafe",
    "make_sandbox": "factory",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'base')}"), name)
