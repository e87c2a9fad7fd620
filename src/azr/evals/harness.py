"""Runs a benchmark: prompt, completion, answer, verdict; a JSONL file gets one line per problem."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import azr
from azr.concurrency import gather
from azr.errors import UserError
from azr.evals.answerers import Answerer, Reply
from azr.evals.problems import Benchmark, Problem
from azr.evals.runner import Runner
from azr.evals.templates import Template
from azr.rollout.base import Sampling
from azr.run.directory import explained
from azr.sandbox.base import Sandbox
from azr.types import Verdict

OUT = "choose another --out, or make it writable"
"""What to do if results cannot be written."""
HARNESS_VERSION = 3
"""Incremented whenever a change in prompts, extraction or judging may change a score."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What determines a score besides model and problems; recorded with every file of completions."""

    template: str = "complete"  # form of the prompts; see `azr.evals.templates`
    samples: int = 1  # completions per problem
    temperature: float = 0.0  # 0 is greedy
    top_p: float = 1.0  # nucleus mass
    max_tokens: int = 512  # tokens per completion, at most
    seed: int = 0  # of sampling
    seconds: float = 10.0  # processor time of a program for all calls of a problem, or for one standard input
    limit: int | None = None  # number of problems, from the first (per kind of a self-play set); None for all

    @property
    def sampling(self) -> Sampling:
        """The settings of a generator."""
        return Sampling(self.max_tokens, self.temperature, self.top_p)

    def record(self) -> dict[str, Any]:
        """As JSON, with the versions of the harness and of the package."""
        return {"harness": HARNESS_VERSION, "azr": azr.__version__, **asdict(self)}


async def run(
    answerer: Answerer,
    benchmark: Benchmark,
    template: Template,
    settings: Settings,
    sandbox: Sandbox,
    path: Path,
    *,
    identity: str,
    advance: Callable[[int], None],
) -> list[dict[str, Any]]:
    """Run an answerer on a benchmark, or resume an interrupted call.

    Problems are answered in windows whose size depends on the answerer alone, and only whole windows are written. So an
    interrupted and resumed call writes the same lines as an uninterrupted one.

    Completions are written to `path`, whose header records `settings` and the `identity` of the model with its weights.
    `advance` is called with the number of problems done so far.

    Returns:
        a record per problem: id, group, prompt, samples (completion, tokens, finished, score, reason, detail).

    Raises:
        UserError: the file was written with other settings, or cannot be written.
    """
    problems = benchmark.problems
    runner = Runner(sandbox, seconds=answerer.seconds or settings.seconds)
    prompts = json.dumps([[problem.id, problem.stem, problem.request] for problem in problems])
    header = {
        "benchmark": benchmark.name,
        "model": identity,
        "problems": hashlib.sha256(prompts.encode()).hexdigest()[:16],
        **settings.record(),
        "seconds": runner.seconds,
    }
    records = resume(path, header, window=answerer.window, total=len(problems))
    advance(len(records))
    with explained(path.parent, remedy=OUT), path.open("a", encoding="utf-8") as file:
        for begin in range(len(records), len(problems), answerer.window):
            window = problems[begin : begin + answerer.window]
            new = await gather(
                _record(answerer, problem, template, settings, runner, f"{benchmark.name}/{begin + at:05d}")
                for at, problem in enumerate(window)
            )
            write(file, new)
            records += new
            advance(len(records))
    return records


def write(file: TextIO, records: Sequence[Mapping[str, Any]]) -> None:
    """Append records, one JSON line each."""
    file.writelines(json.dumps(record) + "\n" for record in records)
    file.flush()


async def _record(
    answerer: Answerer, problem: Problem, template: Template, settings: Settings, runner: Runner, key: str
) -> dict[str, Any]:
    async def judged(reply: Reply) -> Verdict:
        answer = template.answer(problem, reply.text)
        return Verdict(False, 0.0, "no_answer") if answer is None else await problem.judge.judge(answer, runner)

    prompt = template.prompt(problem)
    replies = await answerer.replies(problem, prompt, key, settings.samples)
    verdicts = await gather(map(judged, replies))
    if not replies:  # every sample counts as not solved
        replies = [Reply("", 0)] * settings.samples
        verdicts = [Verdict(False, 0.0, "prompt_too_long")] * settings.samples
    samples = [
        {"completion": reply.text, "tokens": reply.tokens, "finished": reply.finished}
        | {"score": verdict.score, "reason": verdict.reason, "detail": verdict.detail}
        for reply, verdict in zip(replies, verdicts, strict=True)
    ]
    return {"id": problem.id, "group": problem.group, "prompt": prompt, "samples": samples}


def resume(path: Path, header: Mapping[str, Any], *, window: int = 1, total: int = 0) -> list[dict[str, Any]]:
    """Truncate the file to its whole windows and return their records; a new file gets its header.

    What is kept is never rewritten, so that no failure here can lose it.

    Raises:
        UserError: the file was written with other settings, or cannot be written.
    """
    with explained(path.parent, remedy=OUT):
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.exists() else b""
        lines = [line + b"\n" for line in content.split(b"\n")[:-1]]
        old = json.loads(lines[0]) if lines else header
        for key, value in header.items():
            if old.get(key) != value:
                raise UserError(
                    f"{path}: made with {key} = {old.get(key)}, now it is {value}; choose another --out, or delete the"
                    " file"
                )
        done = max(0, len(lines) - 1)
        kept = lines[: 1 + (done if done == total else done // window * window)]
        size = sum(map(len, kept))
        if size < len(content):
            os.truncate(path, size)
        if not kept:
            path.write_text(json.dumps(header) + "\n", encoding="utf-8")
    return [json.loads(line) for line in kept[1:]]
