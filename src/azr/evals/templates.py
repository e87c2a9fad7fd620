"""From problems to prompts and from completions to answers: one template for all models of a comparison.

`complete` is text to continue, `chat` uses the tokenizer's chat template, `r1` is the paper's prompt for base models.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from azr.evals.problems import Form, Problem

NAMES = ("complete", "chat", "r1")

_R1 = (
    "A conversation between User and Assistant. The user asks a question, and the assistant solves it. The assistant"
    " first thinks the reasoning process through and then gives the answer. The reasoning stands between <think> and"
    " </think>, the answer between <answer> and </answer>.\nUser: {request}\nAssistant: <think>"
)
_ANSWER_HERE = "Give your final answer between <answer> and </answer>"
_HOW = {
    Form.BODY: f"{_ANSWER_HERE}: the whole program in a ```python block.",
    Form.PROGRAM: f"{_ANSWER_HERE}: the whole program in a ```python block.",
    Form.SCRIPT: f"{_ANSWER_HERE}: the whole program in a ```python block. It reads standard input and prints.",
    Form.OUTPUT: f"{_ANSWER_HERE}: the value alone, as a Python literal.",
    Form.INPUT: f"{_ANSWER_HERE}: only what stands between the parentheses of the call.",
}
_ANSWER = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)
_FENCE = re.compile(r"^```[ \t]*\w*[ \t]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_BODY_ENDS = re.compile(r"^[^\s#)\]}]", re.MULTILINE)
_SCRIPT_ENDS = re.compile(r'^(?:"""|\'\'\'|```|<\|)', re.MULTILINE)
_PROGRAM_ENDS = re.compile(r'^(?:"""|\'\'\'|assert\b|print\(|if __name__|```|<\|)', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Template:
    """A form of prompts and completions."""

    name: str  # one of `NAMES`
    chat: Callable[[str], str] | None = None
    """Applies a model's chat template to a message; None for gold and broken answers, which no model writes."""

    def prompt(self, problem: Problem) -> str:
        """The model's prompt."""
        if self.name == "complete" or (problem.form is Form.TEXT and self.name == "r1"):
            return problem.stem
        request = problem.request
        if problem.form is not Form.TEXT:
            request += f"\n\n{_HOW[problem.form]}"
        if self.name == "r1":
            return _R1.format(request=request)
        return request if self.chat is None else self.chat(request)

    def answer(self, problem: Problem, completion: str) -> str | None:
        """The answer in a completion, in the problem's form; None if there is none."""
        if problem.form is Form.TEXT:
            return completion
        if self.name == "complete":
            return _continued(problem, completion)
        return _marked(problem.form, completion)

    def completion(self, problem: Problem, answer: str) -> str:
        """A completion with this answer, as a model would write it; the inverse of `answer`."""
        if problem.form is Form.TEXT:
            return answer
        if self.name == "complete":
            return {Form.INPUT: f"{answer})\n", Form.OUTPUT: f"{answer}\n"}.get(problem.form, answer)
        if problem.form is Form.BODY:
            answer = problem.stem + answer
        if problem.form in (Form.INPUT, Form.OUTPUT):
            return f"So be it.</think> <answer>{answer}</answer>"
        return f"So be it.</think> <answer>\n```python\n{answer}\n```\n</answer>"


def _continued(problem: Problem, completion: str) -> str | None:
    """The answer in a text that continues the stem: all before something else begins."""
    match problem.form:
        case Form.BODY:
            end = _BODY_ENDS.search(completion)
            body = completion[: end.start()] if end else completion
            return problem.stem + body if body.strip() else None
        case Form.INPUT:
            line = completion.partition("\n")[0]
            return line[: line.rindex(")")] if ")" in line else None
        case Form.OUTPUT:
            return completion.partition("\n")[0].strip() or None
        case _:
            end = (_SCRIPT_ENDS if problem.form is Form.SCRIPT else _PROGRAM_ENDS).search(completion)
            program = completion[: end.start()] if end else completion
            return program if program.strip() else None


def _marked(form: Form, completion: str) -> str | None:
    """The text between the last answer tags. A program is the last fenced block in it, or without tags anywhere."""
    tagged = _ANSWER.findall(completion)
    if form in (Form.INPUT, Form.OUTPUT):
        return tagged[-1].strip() if tagged else None
    blocks = _FENCE.findall(tagged[-1] if tagged else completion)
    program = [*tagged, *blocks][-1] if tagged or blocks else ""
    return program if program.strip() else None
