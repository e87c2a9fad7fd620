"""Prompts from Jinja templates in three styles.

`r1` wraps the long text for base models, `chat` is the same text for the tokenizer's chat template, and `compact` is a
short tagged form for small models.
"""

from collections.abc import Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from azr.domains.answers import ANSWER_RULE, dress
from azr.domains.python.building import Foundation
from azr.domains.python.config import PythonConfig
from azr.domains.python.parse import Notation
from azr.types import INDUCTION, JSON, Kind, Role, Task


def notation(config: PythonConfig) -> Notation:
    """How the parts of an answer are labelled in the configured style."""
    return "tagged" if config.style == "compact" else "fenced"


def propose_prompt(
    config: PythonConfig,
    kind: Kind,
    references: Sequence[Task],
    foundation: Foundation | None = None,
    size: int | None = None,
) -> str:
    """Ask for a new task. Induction uses the program of the first reference.

    Args:
        config: style and settings.
        kind: of the task.
        references: shown as tasks to differ from; not if the proposal extends or joins their programs.
        foundation: what the proposal has to build on, if anything.
        size: how many statements to ask for; None for any number.
    """
    if kind == INDUCTION:
        return _render(config, Role.PROPOSE, kind, source=references[0].data["program"])
    programs = {"composite": "", "extended": "", "joined": ""}
    if foundation is not None:
        programs[foundation.way] = foundation.program
    shown = [] if programs["extended"] or programs["joined"] else [task.data for task in references]
    return _render(config, Role.PROPOSE, kind, references=shown, size=size, **programs)


def solve_prompt(config: PythonConfig, task: Task) -> str:
    """Pose a task without its gold value; an induction task shows only its first pairs."""
    data = dict(task.data)
    if config.line_numbers and "program" in data:
        data["program"] = with_line_numbers(data["program"])
    shown = shown_pairs(task) if task.kind == INDUCTION else []
    return _render(config, Role.SOLVE, task.kind, task=data, shown=shown)


def with_line_numbers(program: str, first: int = 1) -> str:
    """Write its number after each line of a program, as a comment, so that a thought can refer to the line by it."""
    return "\n".join(f"{line}  # {number}" for number, line in enumerate(program.split("\n"), first))


def shown_pairs(task: Task) -> list[tuple[str, str]]:
    """The (input, output) pairs of an induction task that the solver sees."""
    return list(zip(task.data["inputs"], task.data["outputs"], strict=True))[: task.data["shown"]]


def _render(config: PythonConfig, role: Role, kind: Kind, **values: JSON) -> str:
    folder = "compact" if config.style == "compact" else "body"
    template = _environment().select_template([f"{folder}/{role}_{kind}.jinja", f"{folder}/{role}.jinja"])
    body = template.render(
        kind=kind, forbidden=config.forbidden_modules, inputs=config.induction_inputs, answer_rule=ANSWER_RULE, **values
    )
    return body if config.style == "compact" else dress(body.strip(), config.style)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("azr.domains.python", "prompts"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # prompts are text for a model, not HTML
    )
