"""What the shell offers to complete a command: presets, keys and their values, runs and models.

Called by the shell at every press of Tab, so nothing here imports torch.
"""

from __future__ import annotations

import os
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import typer
import typer.completion

SHELLS = ("bash", "zsh", "fish")
OPEN = """
# A key is completed without a space, since its value follows.
_azr_open_completion() {
    _azr_completion "$@"
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=.] ]] && compopt -o nospace
    return 0
}
complete -o default -F _azr_open_completion azr"""

Offer = str | tuple[str, str]
"""A word, or a word with its description."""


def prepare() -> None:
    """Make the command line answer in the form that the scripts of typer expect."""
    typer.completion.completion_init()  # type: ignore[attr-defined]


def script(shell: str) -> str:
    """The script that makes a shell complete azr, to be read by its startup file.

    Raises:
        UserError: no such shell.
    """
    from azr.errors import UserError

    if shell not in SHELLS:
        raise UserError(f"{shell}: no such shell; use {', '.join(SHELLS)}")
    make = typer.completion.get_completion_script  # type: ignore[attr-defined]
    made: str = make(prog_name="azr", complete_var="_AZR_COMPLETE", shell=shell)
    return made + OPEN if shell == "bash" else made


def runs(incomplete: str) -> list[Offer]:
    """Runs in the default folder, the one that was written to last first."""
    from azr.run.directory import RUNS, runs_in

    names = [str(run.relative_to(RUNS)) for run in runs_in(RUNS)]
    latest: list[Offer] = [("latest", "the run that was written to last")] if names else []
    return [offer for offer in [*latest, *names] if _word(offer).startswith(incomplete)]


def models(incomplete: str) -> list[Offer]:
    """Runs, and the models that ship."""
    from azr.models.shipped import MODELS

    return [*runs(incomplete), *(name for name in MODELS if name.startswith(incomplete))]


def models_and_settings(context: typer.Context, incomplete: str) -> list[Offer]:
    """A model as the first word, then keys."""
    key, value = _assignment(context, incomplete)
    return _values(key, value, context) if key else [*models(incomplete), *_keys(incomplete, context)]


def presets_and_settings(context: typer.Context, incomplete: str) -> list[Offer]:
    """Presets until one is named, then keys; after "=", the values of a key."""
    from azr import settings

    key, value = _assignment(context, incomplete)
    if key:
        return _values(key, value, context)
    named = any(word in settings.presets() for word in _given(context))
    offers: list[Offer] = [] if named else [(name, settings.headline(name)) for name in settings.presets()]
    return [offer for offer in offers if _word(offer).startswith(incomplete)] + _keys(incomplete, context)


def presets(incomplete: str) -> list[Offer]:
    """Presets."""
    from azr import settings

    return [(name, settings.headline(name)) for name in settings.presets() if name.startswith(incomplete)]


def _word(offer: Offer) -> str:
    return offer if isinstance(offer, str) else offer[0]


def _given(context: typer.Context) -> list[str]:
    """The words before, where bash splits an assignment at "="."""
    words = context.params.get("words") or []
    return [*words, *context.args] if isinstance(words, Sequence) and not isinstance(words, str) else []


def _assignment(context: typer.Context, incomplete: str) -> tuple[str, str]:
    """Key and beginning of the value that is being typed; no key if it is not an assignment.

    Bash makes words of "key", "=" and "value", and replaces only the last; the others pass on "key=value".
    """
    words = os.environ.get("COMP_WORDS", "").split()
    at = os.environ.get("COMP_CWORD", "")
    before = words[: int(at)] if at.isdecimal() else []
    if before and words[len(before) : len(before) + 1] == ["="]:  # the cursor is right behind it
        return before[-1], ""
    if len(before) > 1 and before[-1] == "=":
        return before[-2], incomplete
    return ("", "") if "=" not in incomplete else (incomplete.partition("=")[0], incomplete.partition("=")[2])


def _keys(incomplete: str, context: typer.Context) -> list[Offer]:
    """Keys that begin so; a section as a whole until its name is typed."""
    found: dict[str, str] = {}
    for key, (_, description) in _fields(context).items():
        if not key.startswith(incomplete):
            continue
        rest = key[len(incomplete) :]
        section, dot, _ = rest.partition(".")
        found.setdefault(incomplete + section + "." if dot else f"{key}=", "" if dot else description)
    return [(key, about) if about else key for key, about in found.items()]


def _values(key: str, incomplete: str, context: typer.Context) -> list[Offer]:
    """Values of a key, if there are few. Shells other than bash replace the whole word, with the key."""
    choices = _special(key) or _choices(_fields(context).get(key, (None, ""))[0])
    prefix = "" if "COMP_CWORD" in os.environ else f"{key}="
    return [prefix + choice for choice in choices if choice.startswith(incomplete)]


def _special(key: str) -> list[str]:
    """Values of keys whose type is a plain text."""
    from importlib.metadata import entry_points

    if key == "model.name":
        from azr.models.shipped import MODELS

        return list(MODELS)
    if key == "algorithm.name":
        from azr.algorithms import registry

        return registry.names()
    groups = {"domain.name": "azr.domains", "sandbox.backend": "azr.sandboxes"}
    return sorted({point.name for point in entry_points(group=groups[key])}) if key in groups else []


def _choices(annotation: Any) -> list[str]:
    """Values of a type: true and false, or those of a Literal; null where it may be unset."""
    if annotation is bool:
        return ["true", "false"]
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [choice for part in get_args(annotation) for choice in _choices(part)]
        return [*parts, "null"] if parts and type(None) in get_args(annotation) else parts
    return []


def _fields(context: typer.Context) -> dict[str, tuple[Any, str]]:
    """Type and description of every key, with those of the domain that the words so far name."""
    from azr.config import Config
    from azr.domains import registry
    from azr.errors import UserError

    try:
        domain = registry.config_class(_domain(context))
    except UserError:  # a domain that is not installed: its keys are unknown
        domain = Config.model_fields["domain"].annotation  # type: ignore[assignment]
    return dict(_below(Config, "", domain))


def _below(section: Any, path: str, domain: Any) -> Iterator[tuple[str, tuple[Any, str]]]:
    for name, field in section.model_fields.items():
        annotation = domain if (path, name) == ("", "domain") else field.annotation
        if hasattr(annotation, "model_fields"):
            yield from _below(annotation, f"{path}{name}.", domain)
        else:
            yield f"{path}{name}", (annotation, field.description or "")


def _domain(context: typer.Context) -> str:
    """The domain that the words so far name, or that of the preset among them."""
    from azr import settings
    from azr.errors import UserError

    found = "python"
    for word in _given(context):
        if word.startswith("domain.name="):
            return word.partition("=")[2]
        if Path(word).suffix == ".toml" or word in settings.presets():
            try:
                found = settings.read(word)["domain"]["name"]
            except (UserError, LookupError, TypeError):
                continue
    return found
