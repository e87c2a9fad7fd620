"""Domains by name: those of azr and those that other packages register in the entry-point group `azr.domains`."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from azr import plugins
from azr.config import DomainConfig, SandboxConfig
from azr.domains.base import Domain, Form
from azr.errors import UserError

GROUP = "azr.domains"
OPTIONAL = frozenset({"length"})
"""Members of the protocol that were added after azr 0.1; a domain without them can still be played."""
REQUIRED = frozenset(name for name in vars(Domain) if not name.startswith("_")) - OPTIONAL
"""The members that a domain must have: all others of the protocol."""


@dataclass(frozen=True, slots=True)
class DomainPlugin:
    """What an entry point of the group `azr.domains` refers to.

    Attributes:
        config: the domain's settings: a subclass of `DomainConfig` whose `name` is the entry point's.
        build: makes the domain from its settings and the sandbox's limits.
        description: one or two sentences for lists and for the report.
        held_out_sets: names of the held-out sets in its package, if its settings have a key `held_out` for them.
        form: makes the form that a person fills in, from the settings; None if a person types the bare answer.
    """

    config: type[DomainConfig]
    build: Callable[[Any, SandboxConfig], Domain]
    description: str
    held_out_sets: tuple[str, ...] = ()
    form: Callable[[Any], Form] | None = None


def names() -> list[str]:
    """Names of all registered domains, sorted."""
    return plugins.names(GROUP)


def plugin(name: str) -> DomainPlugin:
    """Find a domain.

    Raises:
        UserError: there is no domain of that name (the nearest is suggested), or it cannot be loaded.
    """
    if name not in (known := names()):
        raise UserError(f"domain.name = {name}: {plugins.unknown(GROUP, name, known)}")
    found, where = plugins.load(GROUP, name)
    if not isinstance(found, DomainPlugin):
        raise UserError(f"{where} is a {type(found).__name__}, not an azr.domains.registry.DomainPlugin")
    _check(found, where)
    return found


def _check(found: DomainPlugin, where: str) -> None:
    config: object = found.config
    if not (isinstance(config, type) and issubclass(config, DomainConfig)):
        raise UserError(f"{where}: its config is not a subclass of azr.config.DomainConfig")
    if not config.available:
        raise UserError(f"{where}: {config.__name__}.available names no kinds")
    if not callable(found.build):
        raise UserError(f"{where}: its build is not callable")
    if not (isinstance(found.description, str) and found.description):
        raise UserError(f"{where}: its description is not a text")


def config_class(name: str) -> type[DomainConfig]:
    """Settings class of a domain, for `azr.settings.build`."""
    return plugin(name).config


def make_domain(config: DomainConfig, sandbox: SandboxConfig) -> Domain:
    """Build the domain that the configuration names.

    Raises:
        UserError: there is no such domain, its plug-in fails, or what it builds lacks a method of the protocol.
    """
    try:
        domain = plugin(config.name).build(config, sandbox)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"domain {config.name}: cannot be built: {type(error).__name__}: {error}") from error
    if missing := sorted(name for name in REQUIRED if not hasattr(domain, name)):
        kind = type(domain).__name__
        raise UserError(f"domain {config.name}: {kind} lacks {', '.join(missing)}; see docs/writing-a-domain.md")
    return domain


def held_out_sets() -> dict[str, str]:
    """The domain of each held-out set that a package contains; domains that cannot be used are left out."""
    found: dict[str, str] = {}
    for name in names():
        with contextlib.suppress(UserError):
            found |= dict.fromkeys(plugin(name).held_out_sets, name)
    return found


def listing() -> tuple[list[str], list[UserError]]:
    """One line per domain, and the errors of those that cannot be used."""
    lines, errors = [], []
    for name in names():
        try:
            lines.append(f"{name:<12} {plugin(name).description}")
        except UserError as error:
            errors.append(error)
    return lines, errors


def about(name: str) -> list[str]:
    """Description, kinds and settings of a domain, as lines.

    Raises:
        UserError: see `plugin`.
    """
    found = plugin(name)
    lines = [found.description, f"kinds: {', '.join(found.config.available)}", "settings:"]
    for key, field in found.config.model_fields.items():
        default = f"{field.default!r:.40}"
        lines.append(f"  {f'domain.{key}':<26} {default:<14} {field.description or ''}".rstrip())
    return lines
