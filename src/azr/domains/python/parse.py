"""Read the labelled parts of a proposal or an answer, in the two notations that the prompts use.

`fenced` (styles r1 and chat): code blocks labelled python, input, output, message. `tagged` (style compact):
<program>, <input>, <output>, <message>.

Parsing takes linear time, since a model's text can be anything and is parsed on the event loop.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Literal

from azr.domains.answers import MalformedError

Notation = Literal["fenced", "tagged"]

_FENCE = re.compile(r"^[ \t]*+```[ \t]*+(\w*+)[ \t]*+$", re.MULTILINE)  # possessive: nothing is tried twice
_TAG = re.compile(r"<(program|input|output|message)>")


def fields_of(answer: str, notation: Notation) -> dict[str, list[str]]:
    """The parts of an answer by label (program, input, output, message), in order; other labels are ignored."""
    parts: dict[str, list[str]] = {"program": [], "input": [], "output": [], "message": []}
    for label, body in _tagged(answer) if notation == "tagged" else _fenced(answer):
        if label in parts:
            parts[label].append(body.strip("\n") if label == "program" else body.strip())
    return parts


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
    unclosed: set[str] = set()  # labels without a closing tag in the rest of the text
    at = 0
    while (opening := _TAG.search(answer, at)) is not None:
        label, at = opening[1], opening.end()
        end = -1 if label in unclosed else answer.find(f"</{label}>", at)
        if end < 0:
            unclosed.add(label)
            continue
        yield label, answer[at:end]
        at = end + len(f"</{label}>")


def one(parts: Sequence[str], label: str) -> str:
    """The only part of its label.

    Raises:
        MalformedError: "no_<label>" if there is none or it is empty, "many_<label>s" if there are several.
    """
    if len(parts) > 1:
        raise MalformedError(f"many_{label}s")
    if not parts or not parts[0].strip():
        raise MalformedError(f"no_{label}")
    return parts[0]


def short_answer(answer: str, label: Literal["input", "output"], notation: Notation) -> str:
    """An answer with or without its label."""
    parts = fields_of(answer, notation)[label]
    return parts[-1] if parts else answer
