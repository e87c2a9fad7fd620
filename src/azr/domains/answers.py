"""The answer format of all domains: how prompts ask for it (`domain.style`), how it is read, and how it is refused."""

import re
from collections.abc import Mapping
from typing import ClassVar

from azr.config import Style
from azr.types import Verdict

_R1 = """\
A conversation between a user and an assistant. The user sets a problem; the assistant thinks about it first, between \
<think> and </think>, and then gives the answer between <answer> and </answer>.
User: {body}
Assistant: <think>"""
ANSWER_RULE = (
    "First reason in your own words; then give what is asked for between <answer> and </answer>. Only the last answer"
    " counts."
)
"""Asks for the format that `answer_of` reads."""

_ANSWER = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")


class RefusedError(ValueError):
    """A text is refused: `reason` is the code that is counted, `detail` is for people."""

    well_formed: ClassVar[bool]

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.verdict = Verdict(self.well_formed, 0.0, reason, detail)


class MalformedError(RefusedError):
    """The text does not follow the format."""

    well_formed = False


class RejectedError(RefusedError):
    """A proposal follows the format, but is not a valid task."""

    well_formed = True


STRAIGHT_TO_THE_ANSWER: Mapping[Style, str] = {"compact": "<answer>", "r1": "</think>\n<answer>"}
"""What follows a solve prompt if the model is to answer without a thought. A chat model's template leaves no room."""


def dress(body: str, style: Style) -> str:
    """Wrap a prompt for base models (r1). For chat the model's own template does it; compact has no wrapper."""
    return _R1.format(body=body) if style == "r1" else body


def answer_of(text: str) -> str:
    """The content of the last <answer>...</answer>, without surrounding white space.

    Raises:
        MalformedError: "no_answer" if there is none, "empty_answer" if it is empty.
    """
    answers = _ANSWER.findall(text)
    if not answers:
        raise MalformedError("no_answer")
    answer: str = answers[-1].strip()
    if not answer:
        raise MalformedError("empty_answer")
    return answer


def short_answer_of(text: str) -> str:
    r"""Like `answer_of`, but also reads \boxed{5}, within the answer or instead of it.

    Raises:
        MalformedError: as `answer_of`.
    """
    try:
        answer = answer_of(text)
    except MalformedError:
        answer = text
        if not _BOXED.search(text):
            raise
    boxed: list[str] = _BOXED.findall(answer)
    if boxed and not boxed[-1].strip():
        raise MalformedError("empty_answer")
    return boxed[-1].strip() if boxed else answer
