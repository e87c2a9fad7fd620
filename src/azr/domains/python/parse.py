"""From the model's text to the parts of a proposal or of an answer, in the two notations that the prompts use.

`fenced` (styles r1 and chat): code blocks labelled python, input, output, message. `tagged` (style compact):
<program>, <input>, <output>, <message>. In both, what counts stands in the last <answer>...</answer>.

Each text is read once, in time linear in its length: it is a model's, and it is read on the event loop.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from azr.domains.answers import MalformedError

Notation = Literal["fenced", "tagged"]

_FENCE = re.compile(r"^[ \t]*+```[ \t]*+(\w*+)[ \t]*+$", re.MULTILINE)  # possessive: nothing is tried twice
_TAG = re.compile(r"<(program|input|output|message)>")


@dataclass(frozen=True, slots=True)
class Fields:
    """The labelled parts of an answer, each in the order of appearance."""

    program: tuple[str, ...] = ()
    input: tuple[str, ...] = ()
    output: tuple[str, ...] = ()
    message: tuple[str, ...] = ()


def fields_of(answer: str, notation: Notation) -> Fields:
    """The labelled parts of an answer; parts with other labels are passed over."""
    parts: defaultdict[str, list[str]] = defaultdict(list)
    for label, body in _tagged(answer) if notation == "tagged" else _fenced(answer):
        if label in Fields.__dataclass_fields__:
            parts[label].append(body.strip("\n") if label == "program" else body.strip())
    return Fields(**{label: tuple(bodies) for label, bodies in parts.items()})


def _fenced(answer: str) -> Iterator[tuple[str, str]]:
    """Label and body of each block: from a fence with a label to the next fence without one."""
    opening: re.Match[str] | None = None
    for fence in _FENCE.finditer(answer):
        if opening is None and fence[1]:
            opening = fence
        elif opening is not None and not fence[1]:
            label = "program" if opening[1] == "python" else opening[1]
            yield label, answer[opening.end() + 1 : fence.start()]
            opening = None


def _tagged(answer: str) -> Iterator[tuple[str, str]]:
    """Label and body of each part: from an opening tag to the next closing tag of its label."""
    unclosed: set[str] = set()  # labels that are not closed any more in the rest of the text
    at = 0
    while (opening := _TAG.search(answer, at)) is not None:
        label, at = opening[1], opening.end()
        end = -1 if label in unclosed else answer.find(f"</{label}>", at)
        if end < 0:
            unclosed.add(label)
            continue
        yield label, answer[at:end]
        at = end + len(f"</{label}>")


def one(parts: tuple[str, ...], label: str) -> str:
    """The one part of its label.

    Raises:
        MalformedError: "no_<label>" where there is none or it is empty, "many_<label>" where there are several.
    """
    if len(parts) > 1:
        raise MalformedError(f"many_{label}s")
    if not parts or not parts[0].strip():
        raise MalformedError(f"no_{label}")
    return parts[0]


def short_answer(answer: str, label: Literal["input", "output"], notation: Notation) -> str:
    """An answer that may stand bare or in a part with its label."""
    parts: tuple[str, ...] = getattr(fields_of(answer, notation), label)
    return parts[-1] if parts else answer
