"""The Python domain: validates proposals and judges attempts.

The sandbox returns values as canonical text, and texts are compared here. No answer key is ever part of a job.
"""

import sys
from collections.abc import Sequence
from functools import cached_property, partial

import numpy as np

from azr.config import SandboxConfig
from azr.domains.answers import MalformedError, RefusedError, RejectedError, answer_of
from azr.domains.base import Proposal, ProposalPrompt, Sources
from azr.domains.python import prompts, syntax
from azr.domains.python.building import Foundation, build, draw_foundation
from azr.domains.python.config import PythonConfig
from azr.domains.python.parse import fields_of, one, short_answer
from azr.domains.python.tasks import NO_ERROR, identity_task, load_held_out, program_task, tidy_arguments
from azr.sandbox.base import Job, Limits, Mode, Outcome, Policy, Reason, Sandbox
from azr.types import ABDUCTION, DEDUCTION, ERROR, INDUCTION, JSON, Kind, Task, Verdict

CORRECT = Verdict(True, 1.0, "correct")
ACCEPTED = Verdict(True, 1.0, "accepted")


class PythonDomain:
    """Implements `azr.domains.base.Domain`, `Searchable` and `Sized`."""

    name = "python"
    checkable = (ABDUCTION, INDUCTION)
    relabelable = (INDUCTION,)

    def __init__(self, config: PythonConfig, sandbox: SandboxConfig) -> None:
        self.config = config
        self.kinds: tuple[Kind, ...] = config.kinds
        self._notation = prompts.notation(config)
        self._limits = Limits(
            wall_seconds=sandbox.wall_seconds,
            cpu_seconds=sandbox.cpu_seconds,
            memory_bytes=sandbox.memory_mb * 2**20,
            output_bytes=sandbox.output_bytes,
        )
        policy = Policy(frozenset(config.forbidden_modules), config.program_bytes)
        self._job = partial(Job, entry=syntax.ENTRY, policy=policy, limits=self._limits)

    # Proposing

    def seeds(self) -> Sequence[Task]:
        """The identity triplet for every kind to play, and for those that induction takes programs from."""
        kinds = dict.fromkeys(kind for played in self.kinds for kind in (*self.sources(played).kinds, played))
        return [identity_task(kind) for kind in kinds if kind != INDUCTION]

    def sources(self, kind: Kind) -> Sources:
        """Induction gets one program from the deduction and abduction buffers; the others get tasks of their kind."""
        return Sources((DEDUCTION, ABDUCTION), 1) if kind == INDUCTION else Sources((kind,))

    def propose_prompt(self, kind: Kind, references: Sequence[Task], rng: np.random.Generator) -> ProposalPrompt:
        """Ask for a task: for `composite_share`, `extend_share` and `join_share` of them, on a reference's program."""
        foundation = draw_foundation(self.config, kind, references, rng)
        if foundation is not None and foundation.way != "composite":
            references = foundation.parents
        context: dict[str, JSON] = {}
        if foundation is not None:
            depth = 1 + max(task.depth for task in foundation.parents)
            context = {"way": foundation.way, "program": foundation.program, "depth": depth}
        size = None
        if self.config.sizes and kind in (DEDUCTION, ABDUCTION) and context.get("way") in (None, "extended"):
            size = context["size"] = int(rng.integers(1, self.config.sizes + 1))
        prompt = prompts.propose_prompt(self.config, kind, references, foundation, size)
        return ProposalPrompt(kind, prompt, tuple(references), context)

    def fitting(self, prompt: ProposalPrompt, task: Task) -> str | None:
        """The prompt that asks for as many statements as were written; None if `prompt` did, or asked for none."""
        asked, foundation = prompt.context.get("size"), None
        written = self.length(task)
        if prompt.context.get("way") == "extended":
            foundation = Foundation("extended", prompt.context["program"], prompt.references)
            written -= syntax.read(foundation.program).length
        if asked is None or written in (asked, 0):
            return None
        return prompts.propose_prompt(self.config, prompt.kind, prompt.references, foundation, written)

    async def validate(self, prompt: ProposalPrompt, text: str, sandbox: Sandbox) -> Proposal:
        """Parse, check the rules, run twice in two processes, and keep the result as the gold value."""
        try:
            fields = fields_of(answer_of(text), self._notation)
            if prompt.kind == INDUCTION:
                data = await self._induction_data(prompt, fields["input"], one(fields["message"], "message"), sandbox)
            else:
                inputs = one(fields["input"], "input")
                data = await self._program_data(prompt, fields["program"], inputs, sandbox)
            depth = prompt.context.get("depth", 0)
            return Proposal(ACCEPTED, program_task(prompt.kind, data, prompt.references, depth))
        except RefusedError as error:
            return Proposal(error.verdict)

    async def _program_data(
        self, prompt: ProposalPrompt, programs: Sequence[str], inputs: str, sandbox: Sandbox
    ) -> dict[str, JSON]:
        way = prompt.context.get("way")
        program = "" if way == "joined" else one(programs, "program")
        whole = build(way, prompt.context["program"], program) if way else program
        (outcome,) = await sandbox.run(self._job(whole, (inputs,), determinism=True))
        if prompt.kind == ERROR and outcome.reason == Reason.ERROR:
            answer = {"error": outcome.error}
        elif not outcome.ok:
            raise RejectedError(*_why(outcome))
        else:
            answer = {"error": NO_ERROR} if prompt.kind == ERROR else {"output": outcome.value}
        if way == "composite" and not syntax.calls_helper(whole):
            raise RejectedError("helper_unused")
        if syntax.read(whole).normal in self._held_out_programs:
            raise RejectedError("held_out")
        return {"program": whole, "input": tidy_arguments(inputs), **answer}

    async def _induction_data(
        self, prompt: ProposalPrompt, inputs: Sequence[str], message: str, sandbox: Sandbox
    ) -> dict[str, JSON]:
        if len(inputs) != self.config.induction_inputs or not all(inputs):
            raise MalformedError("wrong_input_count")
        program = prompt.references[0].data["program"]
        outcomes = await sandbox.run(self._job(program, tuple(inputs), determinism=True))
        for outcome in outcomes:
            if not outcome.ok:
                raise RejectedError(*_why(outcome))
        tidy = [tidy_arguments(arguments) for arguments in inputs]
        if len(set(tidy)) != len(tidy):
            raise RejectedError("repeated_inputs")
        outputs = [outcome.value for outcome in outcomes]
        shown = self.config.induction_shown
        return {"program": program, "message": message, "inputs": tidy, "outputs": outputs, "shown": shown}

    # Solving

    def solve_prompt(self, task: Task) -> str:
        return prompts.solve_prompt(self.config, task)

    async def verify(self, task: Task, text: str, sandbox: Sandbox) -> Verdict:
        """Judge an attempt. Values are compared as canonical text; any input or program that works is right."""
        try:
            answer = answer_of(text)
            if task.kind == INDUCTION:
                program = self._guessed_program(answer)
                return await self._verify_induction(task, program, sandbox)
        except MalformedError as error:
            return error.verdict
        if task.kind == ERROR:
            return CORRECT if answer == task.data["error"] else Verdict(True, 0.0, "wrong")
        if task.kind == DEDUCTION:
            answer = short_answer(answer, "output", self._notation)
            if answer == task.data["output"]:  # already canonical
                return CORRECT
            (outcome,) = await sandbox.run(Job("", (answer,), mode=Mode.LITERAL, limits=self._limits))
        else:
            answer = short_answer(answer, "input", self._notation)
            (outcome,) = await sandbox.run(self._job(task.data["program"], (answer,)))
        if not outcome.ok:
            return Verdict(True, 0.0, *_why(outcome))
        return CORRECT if outcome.value == task.data["output"] else Verdict(True, 0.0, "wrong")

    async def _verify_induction(self, task: Task, program: str, sandbox: Sandbox) -> Verdict:
        shown = task.data["shown"]
        outcomes = await sandbox.run(self._job(program, tuple(task.data["inputs"][shown:])))
        gold = task.data["outputs"][shown:]
        right = sum(outcome.ok and outcome.value == value for outcome, value in zip(outcomes, gold, strict=True))
        if right == len(gold):
            return CORRECT
        failed = next((outcome for outcome in outcomes if not outcome.ok), None)
        reason, detail = _why(failed) if failed else ("wrong", "")
        return Verdict(True, right / len(gold), reason, detail)

    def _guessed_program(self, answer: str) -> str:
        """The program that answers an induction; MalformedError if there is not exactly one."""
        return one(fields_of(answer, self._notation)["program"], "program")

    # Search

    def checks(self, task: Task, text: str) -> Sequence[Task]:
        """Deductions: what the program gives for a guessed input; what a guessed program gives for the shown inputs."""
        try:
            answer = answer_of(text)
            if task.kind == INDUCTION:
                program = self._guessed_program(answer)
                calls = [(program, *pair) for pair in prompts.shown_pairs(task)]
            else:
                guess = tidy_arguments(short_answer(answer, "input", self._notation))
                calls = [(task.data["program"], guess, task.data["output"])]
            return [program_task(DEDUCTION, {"program": p, "input": i, "output": o}) for p, i, o in calls]
        except RefusedError:
            return []

    async def relabelled(self, task: Task, text: str, sandbox: Sandbox) -> Task | None:
        """The induction task with the same inputs and the outputs of a wrong program.

        None if the program fails on one of the inputs, reads no argument or returns it, or is a held-out one.
        """
        try:
            program = self._guessed_program(answer_of(text))
            read, inputs = syntax.read(program), tuple(task.data["inputs"])
        except RefusedError:
            return None
        if read.trivial is not None or read.normal in self._held_out_programs:
            return None
        outcomes = await sandbox.run(self._job(program, inputs, determinism=True))
        if not all(outcome.ok for outcome in outcomes):
            return None
        return program_task(INDUCTION, {**task.data, "program": program, "outputs": [o.value for o in outcomes]})

    # For rewards, screen and report

    def complexity(self, task: Task) -> float:
        """McCabe's cyclomatic number / 10; above 10 he found programs hard to test."""
        return syntax.read(task.data["program"]).complexity / 10

    def length(self, task: Task) -> int:
        """Statements of the program, without function definitions and returns."""
        return syntax.read(task.data["program"]).length

    def similarity(self, one: Task, other: Task) -> float:
        """The share of their syntax trees that two programs have in common."""
        return syntax.similarity(syntax.read(one.data["program"]).grams, syntax.read(other.data["program"]).grams)

    def gold(self, task: Task) -> str:
        data = task.data
        if task.kind == INDUCTION:
            tagged = self._notation == "tagged"
            answer = f"<program>\n{data['program']}\n</program>" if tagged else f"\n```python\n{data['program']}\n```\n"
        else:
            answer = data[{DEDUCTION: "output", ABDUCTION: "input", ERROR: "error"}[task.kind]]
        return f"<answer>{answer}</answer>"

    def trivial(self, task: Task) -> str | None:
        """Tell "identity" (returns its argument) and "constant" (reads none of its arguments) from other programs."""
        return syntax.read(task.data["program"]).trivial

    @cached_property
    def _held_out_programs(self) -> frozenset[str]:
        """Normal forms of the held-out programs. A proposal of one of them is rejected, whatever its input."""
        tasks = load_held_out(self.config.held_out, (DEDUCTION, ABDUCTION, INDUCTION, ERROR), sys.maxsize)
        return frozenset(syntax.read(task.data["program"]).normal for task in tasks)

    async def held_out(self, count: int, sandbox: Sandbox) -> Sequence[Task]:
        return load_held_out(self.config.held_out, self.kinds, count)

    def show(self, task: Task) -> str:
        data = task.data
        if task.kind == INDUCTION:
            pairs = "\n".join(f"f({i}) == {o}" for i, o in zip(data["inputs"], data["outputs"], strict=True))
            return f"{data['program']}\n\n{pairs}\n# {data['message']}"
        result = f"raises {data['error']}" if task.kind == ERROR else f"== {data['output']}"
        return f"{data['program']}\n\nf({data['input']}) {result}"


def _why(outcome: Outcome) -> tuple[str, str]:
    """Reason code and detail of an outcome without a value."""
    assert outcome.reason is not None, "an outcome without a value has a reason"
    return str(outcome.reason), outcome.error or outcome.detail
