"""What the sides of bench/step.py do: the same work, really done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import step
from step_work import PHASES, Answer, Program, Work, work_path

from azr.models import shipped
from tests.rollout.vllm.fake import FakeVLLM

BENCH = Path(__file__).parents[2] / "bench"
SMALL = ("selfplay.batch_size=2", "selfplay.samples=2", "selfplay.seed_factor=1")
STEP = 2
"""The step after the one for warming up."""


def small(folder: Path, *sides: str, shapes: str = "tiny") -> dict[str, list[Answer]]:
    arguments = step.arguments_of([*SMALL, "--rounds", "1", "--shapes", shapes, "--sides", *sides])
    if shapes != "tiny":
        step.write_script(arguments, folder)
        folder = folder / "work"
        folder.mkdir()
    return step.measure(arguments, step.chosen(arguments), folder, step.REPOSITORY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("step")


@pytest.fixture(scope="module")
def found(folder) -> dict[str, Answer]:
    """One answer of each side that needs no second machine or commit."""
    return {name: answers[0] for name, answers in small(folder, "azr", "trl-subprocess", "trl-pool").items()}


@pytest.fixture(scope="module")
def work(folder, found) -> Work:
    return Work.read(work_path(folder, STEP))


@pytest.mark.slow
@pytest.mark.parametrize("host", ["trl-subprocess", "trl-pool"])
@pytest.mark.parametrize("size", ["prompts", "rows", "tokens", "programs"])
def test_a_host_does_as_much_as_azr(found, host, size):
    assert found[host].counts[size] == found["azr"].counts[size] > 0


@pytest.mark.slow
@pytest.mark.parametrize("host", ["trl-subprocess", "trl-pool"])
def test_programs_give_a_value_where_they_did_in_the_sandbox(found, work, host):
    assert found[host].counts["values"] == sum(sum(program.gave) for program in work.programs) > 0


@pytest.mark.slow
@pytest.mark.parametrize("host", ["trl-subprocess", "trl-pool"])
def test_trl_moves_the_weights_from_as_many_rollouts_as_four_minibatches_can_share(found, work, host):
    assert found[host].counts["rollouts"] == len(work.trained) // 4 * 4
    assert found[host].counts["moved"] > 0


@pytest.mark.slow
def test_both_phases_are_recorded_with_what_they_ran(work):
    for phase in PHASES:
        requests, programs = work.of(phase)
        assert requests
        assert programs
    assert sorted(row for request in work.requests for row in request.rows) == sorted(
        rollout.completion_ids for rollout in work.trained
    )


@pytest.mark.slow
def test_stages_of_a_host_are_all_of_its_step(found):
    assert set(found["trl-pool"].stages) == {"rest", "generate", "programs", "score", "update"}
    assert min(found["trl-pool"].stages["generate"]) > 0


@pytest.mark.slow
def test_the_report_has_a_ratio_for_each_host(found):
    lines = list(step.report({name: [answer, answer] for name, answer in found.items()}))
    ratio = found["trl-pool"].wall / found["azr"].wall
    assert f"trl-pool / azr          min {ratio:.2f} median {ratio:.2f} runs 2" in "\n".join(lines)


@pytest.mark.slow
def test_random_weights_play_the_nurserys_programs_and_continuous_batching_replays_them(tmp_path):
    found = small(tmp_path, "azr", "trl-paged", shapes="random")
    ours, paged = found["azr"][0], found["trl-paged"][0]
    script = Work.read(work_path(tmp_path, STEP)).counts()
    assert {name: ours.counts[name] for name in ("prompts", "rows", "programs")} == {
        name: script[name] for name in ("prompts", "rows", "programs")
    }
    assert ours.counts["tokens"] != script["tokens"]
    assert [paged.counts[name] for name in ("rows", "tokens")] == [ours.counts[name] for name in ("rows", "tokens")]


@pytest.mark.slow
def test_a_vllm_server_is_asked_for_the_rows_of_the_step_at_their_lengths(tmp_path):
    server = FakeVLLM(Path(shipped.resolve("nursery")))
    words = [*SMALL, "--rounds", "1", "--vllm", server.url, "--sides", "azr", "vllm"]
    arguments = step.arguments_of(words)
    found = step.measure(arguments, step.chosen(arguments), tmp_path, step.REPOSITORY)
    server.die()
    assert not server.violations
    ours, served = found["azr"][0].counts, found["vllm"][0].counts
    assert served == {"rows": ours["rows"], "tokens": ours["tokens"]}


# In a process of its own: importing TRL brings warnings with it that the other tests turn into errors.
SAMPLE = """
import json, sys, torch
sys.path.insert(0, sys.argv[1])
from step_sampling import batched, generated
from transformers import AutoModelForCausalLM
from azr.models import shipped
model = AutoModelForCausalLM.from_pretrained(shipped.resolve("nursery"))
torch.manual_seed(0)
rows = [([5, 6, 7], 1), ([5], 60), ([5, 6], 7)]
whole = model.generate
def spy(*words, **options):
    spy.output = whole(*words, **options).tolist()
    return torch.tensor(spy.output)
model.generate = spy
with torch.no_grad():
    lengths = [[len(row) for row in batched(model, rows, 1, size)] for size in (0, 1, 2)]
    generated(model, rows, 1)
print(json.dumps([lengths, spy.output]))
"""


@pytest.mark.slow
def test_generate_stops_each_row_at_its_length_and_pads_it():
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", SAMPLE, str(BENCH)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment, timeout=300)
    lengths, output = json.loads(done.stdout.splitlines()[-1])
    assert lengths == [[1, 60, 7]] * 3
    drawn = [row[3:] for row in output]
    assert [len(row) for row in drawn] == [60, 60, 60]
    for row, length in zip(drawn, (1, 60, 7), strict=True):
        assert 1 not in row[:length]  # the nursery never draws padding, which is token 1
        assert set(row[length:]) <= {1}


def program(source: str, *inputs: str, twice: bool = False, literal: bool = False) -> Program:
    return Program("propose", source, list(inputs), "f", literal, twice, 0.5, [])


PROGRAMS = [
    (program("def f(x): return x + 1", "1", "'a'", "2"), [True, False, True]),
    (program("import random\ndef f(x): return random.random()", "1", twice=True), [False]),
    (program("def f(x):\n  while True: pass", "1"), [False]),
    (program("def f(x): return 'x' * 2**33", "1"), [False]),
    (program("def f(x): raise SystemExit", "1"), [False]),
    (program("import os\ndef f(x): os._exit(0)", "1"), [False]),
    (program("", "[1, 2]", "f(1)", literal=True), [True, False]),
    (program("print('x')\ndef f(x): return x", "1", twice=True), [True]),
]


@pytest.mark.slow
def test_programs_run_to_an_answer_whatever_they_do():
    # In a process of its own: the pool's worker is started with the main module's name.
    code = f"import sys; sys.path[:0] = {[str(BENCH), str(BENCH.parent)]}\n" + RUN
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    in_processes, in_pool = json.loads(done.stdout.splitlines()[-1])
    expected = [gave for _, gave in PROGRAMS]
    assert in_pool == expected
    # The subprocess does not compare its two runs, nor look for banned imports.
    assert in_processes == [expected[0], [True], *expected[2:]]


RUN = """
import json
from step_programs import Pool, Subprocesses
from tests.bench.test_step import PROGRAMS
if __name__ == "__main__":
    programs, found = [one for one, _ in PROGRAMS], []
    for kind in (Subprocesses, Pool):
        runner = kind()
        found.append(runner.run(programs))
        runner.close()
    print(json.dumps(found))
"""


def test_an_unknown_side_for_the_device_is_refused():
    arguments = step.arguments_of(["--device", "cuda", "--sides", "azr-2"])
    with pytest.raises(SystemExit, match="azr-2"):
        step.chosen(arguments)


def test_azr_comes_first_since_others_replay_its_step():
    assert step.chosen(step.arguments_of(["--sides", "trl-pool"])) == ["azr", "trl-pool"]


@pytest.mark.slow
def test_a_side_that_cannot_start_says_why_in_one_line(tmp_path, capfd):
    arguments = step.arguments_of(["selfplay.batch_size=many"])
    with pytest.raises(SystemExit, match="azr ended with code 2"):
        step.measure(arguments, ["azr"], tmp_path, step.REPOSITORY)
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("azr: ")
    assert "batch_size" in said[0]
