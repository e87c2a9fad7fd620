"""The parts of a proposal or an answer that `azr play` asks for, and how they are written in the prompts' notation."""

from collections.abc import Mapping, Sequence

from azr.domains.base import Part
from azr.domains.python import prompts
from azr.domains.python.config import PythonConfig
from azr.types import ABDUCTION, DEDUCTION, ERROR, INDUCTION, Kind, Role

_ANSWERS = {
    DEDUCTION: Part("output"),
    ABDUCTION: Part("input"),
    INDUCTION: Part("program", lines=True),
    ERROR: Part("error"),
}


class PythonForm:
    """Implements `azr.domains.base.Form`."""

    def __init__(self, config: PythonConfig) -> None:
        self._inputs = config.induction_inputs
        self._tagged = prompts.notation(config) == "tagged"

    def parts(self, role: Role, kind: Kind) -> Sequence[Part]:
        """Program and input to propose; for induction inputs, a message and, optionally, an own program."""
        if role == Role.SOLVE:
            return [_ANSWERS[kind]]
        if kind == INDUCTION:
            return [Part("program", lines=True, optional=True), Part("input", count=self._inputs), Part("message")]
        return [Part("program", lines=True), Part("input")]

    def written(self, role: Role, kind: Kind, values: Mapping[str, Sequence[str]]) -> str:
        """The parts in the style's notation; the program of an induction proposal is not part of its text."""
        if role == Role.SOLVE and kind != INDUCTION:
            return f"<answer>{values[_ANSWERS[kind].name][0]}</answer>"
        omitted = "program" if role == Role.PROPOSE and kind == INDUCTION else None
        body = [self._marked(name, text) for name, texts in values.items() if name != omitted for text in texts]
        return f"<answer>\n{''.join(body)}</answer>"

    def first(self, kind: Kind, values: Mapping[str, Sequence[str]]) -> tuple[Kind, str] | None:
        """For induction with an own program, the deduction task that makes it a task's program."""
        if kind != INDUCTION or "program" not in values:
            return None
        task = {"program": values["program"], "input": values["input"][:1]}
        return DEDUCTION, self.written(Role.PROPOSE, DEDUCTION, task)

    def _marked(self, name: str, text: str) -> str:
        if self._tagged:
            return f"<{name}>\n{text}\n</{name}>\n"
        return f"```{'python' if name == 'program' else name}\n{text}\n```\n"
