"""Plug-ins: what installed packages add to azr through entry points."""

from collections.abc import Iterable
from importlib.metadata import entry_points

from azr.errors import UserError, nearest

NOUNS = {
    "azr.algorithms": "algorithm",
    "azr.domains": "domain",
    "azr.rewards": "reward",
    "azr.sandboxes": "sandbox",
}
"""The entry-point groups, and what one plug-in of each is called."""


def names(group: str) -> list[str]:
    """Names that are registered in a group, sorted."""
    return sorted({point.name for point in entry_points(group=group)})


def unknown(group: str, name: str, known: Iterable[str]) -> str:
    """The message about a name that is not registered, with the nearest that is."""
    listed = list(known)
    return f"no such {NOUNS[group]}{nearest(name, listed)}; registered are {', '.join(listed) or 'none'}"


def load(group: str, name: str) -> tuple[object, str]:
    """Load what an entry point refers to.

    Returns:
        the object, and how messages about it begin, such as "domain bases: azr_bases:PLUGIN".

    Raises:
        UserError: the name is not registered or is registered more than once, or the object cannot be imported.
    """
    noun, points = NOUNS[group], [point for point in entry_points(group=group) if point.name == name]
    if not points:
        raise UserError(f"{noun} {name}: {unknown(group, name, names(group))}")
    if len(points) > 1:
        sources = ", ".join(sorted(point.value for point in points))
        raise UserError(f"{noun} {name}: registered more than once: {sources}; uninstall all but one of those packages")
    where = f"{noun} {name}: {points[0].value}"
    try:
        return points[0].load(), where
    except Exception as error:  # a plug-in can raise anything
        raise UserError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error


def instance(group: str, name: str, bases: tuple[type, ...]) -> tuple[object, str]:
    """Load a class that a plug-in registers, and make an instance without arguments.

    Returns:
        the instance, and how messages about it begin.

    Raises:
        UserError: as `load`; or it is no subclass of one of `bases`, or cannot be made.
    """
    found, where = load(group, name)
    if not (isinstance(found, type) and issubclass(found, bases)):
        wanted = " or ".join(f"{base.__module__}.{base.__qualname__}" for base in bases)
        raise UserError(f"{where} is not a subclass of {wanted}")
    try:
        return found(), where
    except Exception as error:
        raise UserError(f"{where} cannot be made: {type(error).__name__}: {error}") from error


def summary(thing: object) -> str:
    """The first line of a class's docstring; empty without one."""
    return (type(thing).__doc__ or "").strip().partition("\n")[0]
