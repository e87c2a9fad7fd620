"""Builds a `Config` from a preset or TOML file and dotted overrides; every mistake becomes one clear line."""

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, ValidationError, create_model

from azr.config import Config, DomainConfig
from azr.errors import UserError, nearest

Tree = dict[str, Any]
M = TypeVar("M", bound=BaseModel)


def presets() -> list[str]:
    """Names of the presets that ship in the package, sorted."""
    return sorted(path.name[:-5] for path in resources.files("azr.presets").iterdir() if path.name.endswith(".toml"))


def _preset(name: str) -> str:
    return resources.files("azr.presets").joinpath(f"{name}.toml").read_text(encoding="utf-8")


def headline(preset: str) -> str:
    """The first line of a preset's file: what the preset is for."""
    return _preset(preset).partition("\n")[0].removeprefix("# ")


def read(source: str) -> Tree:
    """Read a preset by name, or a TOML file by path.

    Raises:
        UserError: neither exists, or the file is not valid TOML.
    """
    path = Path(source)
    if source in presets():
        return tomllib.loads(_preset(source))
    if path.is_file():
        return read_toml(path)
    raise UserError(
        f"{source}: no such preset or file{nearest(source, presets())}; the presets are {', '.join(presets())}"
    )


def read_toml(path: Path) -> Tree:
    """Read a TOML file.

    Raises:
        UserError: it cannot be read, or is not valid TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None


def override(tree: Mapping[str, Any], assignments: Iterable[str]) -> Tree:
    """Apply `key.sub=value` assignments. A value is parsed as TOML, else it is a string; `null` unsets the key.

    Raises:
        UserError: an assignment has no "=", or treats a value as a section.
    """
    result = deepcopy(dict(tree))
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        *parents, leaf = names = path.strip().split(".")
        if not equals or not all(names):
            raise UserError(f"{assignment}: expected the form key.sub=value")
        node = result
        for name in parents:
            node = node.setdefault(name, {})
            if not isinstance(node, dict):
                raise UserError(f"{assignment}: {name} is a value, not a section")
        node[leaf] = _value(text.strip())
    return result


def build(tree: Mapping[str, Any], domain_config: Callable[[str], type[DomainConfig]], *, source: str) -> Config:
    """Validate a tree of keys and values and convert it to a `Config`.

    `domain_config` returns the settings class of a domain by name; messages name `source` as the tree's origin.

    Raises:
        UserError: an unknown key (with the nearest one), a wrong type or an impossible combination; one line.
    """
    name = tree.get("domain", {}).get("name") if isinstance(tree.get("domain"), dict) else None
    if not isinstance(name, str):
        raise UserError(f"{source}: domain.name is missing; set it, for example domain.name=python")
    return check(_typed(domain_config(name)), tree, source=source)


def check(model: type[M], tree: Mapping[str, Any], *, source: str) -> M:
    """Validate a tree against a model: the whole configuration or one section.

    Raises:
        UserError: an unknown key (with the nearest one), a wrong type or an impossible combination; one line.
    """
    try:
        return model.model_validate(_drop_none(tree))
    except ValidationError as error:
        raise UserError(f"{source}: {_explain(error, model)}") from None


def dump(config: Config) -> str:
    """The resolved configuration as TOML; `build(tomllib.loads(dump(c)))` equals c. Unset keys are left out."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


@cache
def _typed(domain: type[DomainConfig]) -> type[Config]:
    """`Config` with a typed domain section. One class per domain, so that equal configurations compare equal."""
    return create_model("Config", __base__=Config, domain=(domain, ...))


def _value(text: str) -> Any:
    if text in ("null", "none", "None"):
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _drop_none(tree: Mapping[str, Any]) -> Tree:
    """Drop keys that are null, so that they take their defaults; TOML has no null."""
    given = {key: value for key, value in tree.items() if value is not None}
    return {key: _drop_none(value) if isinstance(value, Mapping) else value for key, value in given.items()}


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first mistake in one line, with the number of further ones at the end."""
    first, *rest = error.errors(include_url=False)
    path = ".".join(str(part) for part in first["loc"]) or "configuration"
    if first["type"] == "extra_forbidden":
        message = f"unknown key {path}{nearest(str(first['loc'][-1]), _section(model, first['loc'][:-1]))}"
    elif first["type"] == "missing":
        message = f"{path} is missing"
    elif first["type"] == "tuple_type":
        message = f"{path} = {first['input']!r}: expected a list, such as '{path}={json.dumps([first['input']])}'"
    elif first["type"] == "model_type":
        keys = ", ".join(_section(model, first["loc"]))
        message = f"{path} = {first['input']!r}: this is a section, not a value; its keys are {keys}"
    else:
        reason = first["msg"].removeprefix("Value error, ")
        value = "" if isinstance(first["input"], dict) else f" = {first['input']!r}"
        message = f"{path}{value}: {reason[:1].lower()}{reason[1:]}"
    return message + (f" (and {len(rest)} more)" if rest else "")


def _section(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Keys of the section at a location, as the user would write them."""
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)
