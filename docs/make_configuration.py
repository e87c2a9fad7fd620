"""Writes docs/configuration.md from the configuration tree: `python docs/make_configuration.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from azr.config import Config
from azr.domains import registry

TARGET = Path(__file__).with_name("configuration.md")
HEAD = """\
# Configuration

`azr train PRESET_OR_FILE key.sub=value ...`: a preset (`azr presets` lists them) or a TOML file of your own, then
overrides. A value is read as TOML, else as a string; a list wants quotes for the shell
(`'domain.kinds=["deduction", "abduction"]'`); `null` goes back to the default. Unknown keys are errors that name the
nearest one. `azr config PRESET_OR_FILE ...` prints what comes of it; every run keeps it as `config.toml`.

This page is made from the code by `python docs/make_configuration.py`; a test holds it to that.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD, _table("", Config)]
    for name, field in Config.model_fields.items():
        model = _model(field)
        if model is not None and name != "domain":
            parts.append(_table(name, model))
    parts += [_table("domain", registry.config_class(name), f"`domain.name = {name}`") for name in BUILT_IN]
    return "\n".join(parts)


BUILT_IN = ["python", "primes"]
NAMES = {"str": "text", "int": "whole number", "float": "number", "bool": "`true` or `false`", "NoneType": "`null`"}


def _table(section: str, model: type[BaseModel], when: str = "") -> str:
    title = f"## `{section}`" if section else "## The run"
    about = " ".join((model.__doc__ or "").split())
    rows = [
        f"{title} {when}".rstrip(),
        "",
        about,
        "",
        "| key | type | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for name, field in model.model_fields.items():
        if section or _model(field) is None:
            key = f"{section}.{name}" if section else name
            rows.append(f"| `{key}` | {_type(field.annotation)} | {_default(field)} | {field.description or ''} |")
    return "\n".join(rows) + "\n"


def _model(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _type(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(kind))
    if get_args(kind) and get_origin(kind) not in (tuple, dict):
        return " or ".join(_type(part) for part in get_args(kind) if isinstance(part, type) or get_args(part))
    if get_origin(kind) is tuple:
        return "list"
    if get_origin(kind) is dict:
        return "section"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "section: " + ", ".join(f"`{name}`" for name in kind.model_fields)
    return NAMES.get(getattr(kind, "__name__", ""), str(kind))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.default
    if value is None:
        return "`null`"
    if isinstance(value, BaseModel):
        return ", ".join(f"`{key} = {part}`" for key, part in value.model_dump().items())
    if isinstance(value, tuple) and len(value) > 6:
        return f"{len(value)} names"
    return f"`{list(value) if isinstance(value, tuple) else value}`".replace("True", "true").replace("False", "false")


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
