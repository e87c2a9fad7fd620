"""How long does one whole step of self-play take in azr, and what does it take where a user might host it instead?

    python bench/step.py [KEY=VALUE ...] [--rounds 5] [--sides azr azr-2 ...]
    python bench/step.py --device cuda --shapes 0.5b [--vllm http://127.0.0.1:8000]

Each side is a process of its own. In every round each side does one step, in turn, so that all see the same machine;
the first round is for warming up. Ratios are taken within a round. Settings (KEY=VALUE) change the demo's for all
sides.

    azr             a step of `azr train demo`: propose, validate, solve, verify, update, new weights to the generator
    azr-2           the same with `learner.processes=2`
    before          the same at the commit of `--baseline`, in one process
    trl-subprocess  the step of `azr` inside TRL's GRPOTrainer, by its rollout hook: `generate` samples each phase in
                    batches of `--host-batch` rows (48 on a CPU, which was fastest there; else all), each program runs
                    in a subprocess, as many at once as there are cores
    trl-pool        the same with the reference implementation's pool: one persistent worker, one input at a time
    trl-paged       the same as trl-pool, with transformers' continuous batching in place of `generate`
    vllm            only samples the rows of that step, on the server at `--vllm` (started by `azr serve`)

Equal between `azr` and the sides in TRL: the model, prompts, rows, the length of each row, the programs and their
inputs, the rollouts and advantages that are learnt from, the number of optimizer steps, and learning rate, clipping of
ratio and gradient. TRL's rows stop where the recorded ones did; what they draw there is thrown away, and the recorded
tokens are learnt from.

Not equal. In TRL's favour: it parses nothing, verifies nothing and keeps no buffers; its programs run without
isolation; phases are two batches with no wait for a slow program in between; up to 3 rollouts (with `--host-rows`,
4 more per further micro-batch) may be left out of its update; time between two steps is not counted. Against
it: it runs every program that azr asks for, also those whose outcome azr's sandbox remembers, and `generate` reads a
prompt once per row.
TRL's `generate` returns no log-probabilities; the trainer computes those of all rollouts before the update (`score`),
where azr takes the sampler's.
`azr-2` and `before` play steps of their own from the same seed: rounding makes their samples differ sooner or later, so
compare their rows and tokens too. `azr` writes neither events nor checkpoints here.

With random weights (`--shapes 0.5b`, or `random` to try the script), rows end at random, at 64 tokens on average. Texts
are taken from steps of the nursery model, which are played first, so that programs and control flow are those of the
demo. On a GPU there is no `azr-2`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from step_work import Answer, Line

REPOSITORY = Path(__file__).parent.parent
BASELINE = "3716187"
"""The commit at which the aims were set."""
TRL = ("trl-subprocess", "trl-pool", "trl-paged")
SIDES = ("azr", "azr-2", "before", *TRL, "vllm")


def arguments_of(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sides", nargs="+", choices=SIDES, help="default: all that this machine can do")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shapes", choices=["tiny", "random", "0.5b"], default="tiny")
    parser.add_argument("--baseline", default=BASELINE, help="commit of the side `before`")
    parser.add_argument("--host-threads", type=int, default=1, help="that TRL computes with on a CPU")
    parser.add_argument("--host-batch", type=int, help="rows that `generate` takes at once; 0: all of a phase")
    parser.add_argument("--host-rows", type=int, default=0, help="rows per micro-batch of TRL; 0: a minibatch's")
    parser.add_argument("--vllm", metavar="URL", help="of a server that serves the model")
    parser.add_argument("--folder", type=Path, help="keeps the recorded work here")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--script", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args(words)
    if arguments.rounds < 1:
        parser.error("--rounds: at least 1")
    if arguments.host_batch is None:
        arguments.host_batch = 48 if arguments.device == "cpu" else 0
    return arguments


def be(arguments: argparse.Namespace) -> int:
    """Be one side, in a process of its own; returns the exit code."""
    from azr.errors import UserError

    try:
        _be(arguments.side, arguments, Line())
    except UserError as error:
        print(f"{arguments.side}: {error}", file=sys.stderr)
        return 2
    return 0


def _be(name: str, arguments: argparse.Namespace, line: Line) -> None:
    if name == "before":
        from step_azr import earlier

        earlier(arguments, line)
    elif name in ("azr", "azr-2"):
        from step_azr import side

        two = name == "azr-2"
        side(arguments, processes=1 + two, record=None if two else arguments.folder, line=line)
    elif name == "vllm":
        from step_hosts import vllm_side

        vllm_side(arguments, folder=arguments.folder, line=line)
    else:
        import step_hosts

        step_hosts.quiet()
        runner, pages = step_hosts.hosts()[name]()
        step_hosts.side(arguments, runner=runner, pages=pages, folder=arguments.folder, line=line)


class Side:
    """One side's process."""

    def __init__(self, name: str, words: Sequence[str], arguments: argparse.Namespace, tree: Path) -> None:
        self.name = name
        environment = os.environ | {"PYTHONPATH": str(tree / "src"), "TRL_EXPERIMENTAL_SILENCE": "1"}
        if arguments.device == "cpu":
            environment["OMP_NUM_THREADS"] = str(arguments.host_threads if name in TRL else 1)
        command = [sys.executable, __file__, "--side", name, *words]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def await_ready(self) -> None:
        self._read()

    def step(self, number: int) -> Answer:
        assert self._process.stdin is not None
        print(number, file=self._process.stdin, flush=True)
        return Answer(**json.loads(self._read()))

    def close(self) -> None:
        """End the process, which ends its own, and wait for it."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with code {self._process.wait()}; what it said is above")
        return line


@contextlib.contextmanager
def started(arguments: argparse.Namespace, names: Sequence[str], folder: Path, tree: Path) -> Iterator[list[Side]]:
    """Processes of sides, ready, which are ended at the end."""
    words = ["--device", arguments.device, "--shapes", arguments.shapes, "--folder", str(folder)]
    words += ["--host-threads", str(arguments.host_threads), "--host-batch", str(arguments.host_batch)]
    words += ["--host-rows", str(arguments.host_rows)]
    words += ["--script", str(arguments.script)] if arguments.script else []
    words += ["--vllm", arguments.vllm] if arguments.vllm else []
    words += arguments.settings
    sides: list[Side] = []
    try:
        for name in names:  # not in one expression: those that have started are ended even if the next one fails
            side = Side(name, words, arguments, tree if name == "before" else REPOSITORY)
            sides.append(side)
        for one in sides:
            one.await_ready()
        yield sides
    finally:
        for one in sides:
            one.close()


def measure(arguments: argparse.Namespace, names: Sequence[str], folder: Path, tree: Path) -> dict[str, list[Answer]]:
    """Answers of each side, one per round without the first."""
    found: dict[str, list[Answer]] = {name: [] for name in names}
    with started(arguments, names, folder, tree) as sides:
        for step in range(1, arguments.rounds + 2):
            for one in sides:
                answer = one.step(step)
                if step > 1:
                    found[one.name].append(answer)
    return found


def chosen(arguments: argparse.Namespace) -> list[str]:
    """The sides to run, azr first, since it records what others replay."""
    here = {"azr", *TRL}
    if arguments.shapes == "tiny":
        here |= {"before"}
    if arguments.shapes == "tiny" and arguments.device == "cpu" and len(os.sched_getaffinity(0)) > 1:
        here |= {"azr-2"}
    if arguments.vllm:
        here |= {"vllm"}
    if missing := set(arguments.sides or ()) - here:
        raise SystemExit(f"{', '.join(sorted(missing))}: not with these shapes, this device, this machine or no --vllm")
    wanted = {"azr", *(arguments.sides or here)}
    return [name for name in SIDES if name in wanted]


def spread(values: Sequence[float]) -> str:
    return f"min {min(values):.2f} median {median(values):.2f} runs {len(values)}"


def report(found: dict[str, list[Answer]]) -> Iterator[str]:
    """A table of all sides, and their ratios to azr, in two processes if it ran in two."""
    base = "azr-2" if "azr-2" in found else "azr"
    for name, answers in found.items():
        yield f"{name:15} wall s: {spread([one.wall for one in answers])}"
        yield f"{'':15} processor s: {spread([one.processor for one in answers])}"
        stages = {stage: [one.stages.get(stage, (0.0, 0.0)) for one in answers] for stage in answers[0].stages}
        times = [
            f"{stage} {median(wall for wall, _ in both):.2f} ({median(processor for _, processor in both):.2f})"
            for stage, both in stages.items()
        ]
        yield f"{'':15} median wall (processor) s by stage: {', '.join(times)}"
        if answers[0].shares:
            parts = [f"{key} {100 * median(one.shares[key] for one in answers):.0f} %" for key in answers[0].shares]
            yield f"{'':15} waiting while it plays: {', '.join(parts)}"
        counts = {key: median(one.counts[key] for one in answers) for key in answers[0].counts if key != "moved"}
        yield f"{'':15} medians: {', '.join(f'{value:,.0f} {key}' for key, value in counts.items())}"
    yield f"\n{'ratio to ' + base:24}wall time, then processor time"
    for name, answers in found.items():
        if name not in (base, "vllm"):
            pairs = list(zip(answers, found[base], strict=True))
            walls = spread([one.wall / other.wall for one, other in pairs])
            processors = spread([one.processor / other.processor for one, other in pairs])
            yield f"{name + ' / ' + base:24}{walls}    {processors}"
    if base == "azr-2" and "before" in found:
        pairs = list(zip(found["before"], found["azr"], strict=True))
        walls = spread([one.wall / other.wall for one, other in pairs])
        yield f"{'before / azr':24}{walls}    {spread([one.processor / other.processor for one, other in pairs])}"


@contextlib.contextmanager
def earlier_tree(names: Sequence[str], commit: str) -> Iterator[Path]:
    """A work tree of the commit, if it is needed."""
    if "before" not in names:
        yield REPOSITORY
        return
    from learn import checked_out

    with tempfile.TemporaryDirectory() as folder, checked_out(commit, Path(folder) / "tree") as tree:
        yield tree


def write_script(arguments: argparse.Namespace, folder: Path) -> None:
    """Play steps of the nursery model, for the texts that random weights are taken to have written."""
    nursery = argparse.Namespace(**{**vars(arguments), "shapes": "tiny", "device": "cpu"})
    measure(nursery, ["azr"], folder, REPOSITORY)
    arguments.script = folder


def main() -> int:
    arguments = arguments_of()
    if arguments.side:
        return be(arguments)
    names = chosen(arguments)
    with tempfile.TemporaryDirectory() as name, earlier_tree(names, arguments.baseline) as tree:
        folder = arguments.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        if arguments.shapes != "tiny":
            (folder / "script").mkdir(exist_ok=True)
            write_script(arguments, folder / "script")
        for line in report(measure(arguments, names, folder, tree)):
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
