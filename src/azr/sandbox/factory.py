"""Sandboxes by name, from azr and from other packages: entry points in the group `azr.sandboxes`.

An entry point names a class or a function that makes the sandbox; its keyword parameters are the backend's settings.
"""

import inspect
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from azr.errors import nearest
from azr.sandbox.base import Sandbox, SandboxError
from azr.sandbox.memo import MemoSandbox

GROUP = "azr.sandboxes"
SHARED = ("workers", "tier", "image", "url", "allow_unsafe")
"""Settings with keys of their own in the section `sandbox`. A backend gets those that it has a parameter for."""
REQUIRED = sorted(name for name in vars(Sandbox) if not name.startswith("_"))
"""The methods that a sandbox must have."""


def make_sandbox(
    backend: str = "auto", *, memo: int = 4096, options: Mapping[str, Any] | None = None, **shared: Any
) -> Sandbox:
    """Make a sandbox. Nothing is started before the first job.

    Args:
        backend: a registered name. "auto" is "local" on Linux, "seatbelt" on macOS and an error elsewhere: a backend
            that confines nothing is never chosen silently.
        memo: how many jobs' outcomes are remembered; 0 runs every job.
        options: settings of this backend alone, each one of its parameters.
        shared: settings from `SHARED`; those that the backend has no parameter for are ignored.

    Raises:
        SandboxError: no such backend, an unknown option, or the backend cannot be made with these settings.
    """
    options = options or {}
    name = _resolve(backend)
    make = load(name)
    taken = check_options(name, options)
    if unknown := shared.keys() - set(SHARED):
        raise TypeError(f"make_sandbox() got unexpected settings: {', '.join(sorted(unknown))}")
    settings = {key: value for key, value in shared.items() if key in taken} | dict(options)
    try:
        sandbox = make(**settings)
    except SandboxError:
        raise
    except Exception as error:
        raise SandboxError(f"sandbox.backend = {name!r} cannot be made: {type(error).__name__}: {error}") from error
    missing = [method for method in REQUIRED if not callable(getattr(sandbox, method, None))]
    if missing:
        kind = type(sandbox).__name__
        raise SandboxError(f"sandbox.backend = {name!r}: {kind} has no method {' and no method '.join(missing)}")
    return MemoSandbox(sandbox, entries=memo) if memo else sandbox


def check_name(backend: str) -> None:
    """Check that a backend is registered, without loading it.

    Raises:
        SandboxError: there is none of that name (the nearest is suggested), or more than one.
    """
    if backend == "auto":
        return
    points = entry_points(group=GROUP, name=backend)
    if not points:
        known = ["auto", *sorted({point.name for point in entry_points(group=GROUP)})]
        raise SandboxError(
            f"sandbox.backend = {backend!r}: no such backend{nearest(backend, known)}; registered are"
            f" {', '.join(known)}"
        )
    if len(points) > 1:
        sources = ", ".join(sorted(point.value for point in points))
        raise SandboxError(
            f"sandbox.backend = {backend!r} is registered more than once: {sources}; uninstall all but one of those"
            " packages"
        )


def check_options(backend: str, options: Mapping[str, Any]) -> set[str]:
    """Check the options of a backend, and return the names of its parameters.

    Raises:
        SandboxError: an option is unknown (the nearest is suggested), or the backend cannot be loaded.
    """
    parameters = inspect.signature(load(_resolve(backend))).parameters.values()
    taken = {one.name for one in parameters if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)}
    known = sorted(taken.difference(SHARED))
    for key in options:
        if key in SHARED:
            raise SandboxError(f"sandbox.options.{key}: write sandbox.{key}")
        if key not in known:
            has = f"the options of {backend!r} are {', '.join(known)}" if known else f"{backend!r} has no options"
            raise SandboxError(f"sandbox.options.{key}: unknown key{nearest(key, known)}; {has}")
    return taken


def load(name: str) -> Callable[..., Sandbox]:
    """Load the class or function that makes a backend's sandbox.

    Raises:
        SandboxError: there is no such backend, or it cannot be loaded.
    """
    check_name(name)
    (point,) = entry_points(group=GROUP, name=name)
    where = f"sandbox.backend = {name!r}: {point.value}"
    try:
        found = point.load()
    except Exception as error:  # other people's code: whatever it raises is shown
        raise SandboxError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise SandboxError(f"{where} cannot be called; it is of type {type(found).__name__}")
    return found  # type: ignore[no-any-return]


def _resolve(backend: str) -> str:
    """Replace "auto", and refuse the local sandbox where it cannot run."""
    if backend == "auto" and sys.platform == "darwin":
        return "seatbelt"
    if backend not in ("auto", "local"):
        return backend
    if sys.platform != "linux":
        other = "'seatbelt' or 'docker'" if sys.platform == "darwin" else "'docker'"
        raise SandboxError(
            f"the local sandbox needs Linux and this is {sys.platform}: set sandbox.backend = {other}, or, for "
            "development only, sandbox.backend = 'unsafe' with sandbox.allow_unsafe = true"
        )
    return "local"
