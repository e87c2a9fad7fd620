"""Whole runs on several ranks: one dies, one is told to stop, several machines take part."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.distributed.groups import free_port
from tests.runs import azr, metrics, only_run, tiny_config

STEPS = 12
AZR_RUN = Path(__file__).parents[2] / "deploy" / "azr-run"


def start(words, folder: Path, name: str = "out", **env: str) -> subprocess.Popen:
    with (folder / f"{name}.stdout").open("w") as out, (folder / f"{name}.stderr").open("w") as err:
        return subprocess.Popen(
            [sys.executable, "-m", *words], cwd=folder, stdout=out, stderr=err, env=os.environ | env
        )


def started(process, runs: Path, *, steps: int) -> Path:
    """The folder of a run that has done some steps."""
    while True:
        found = list(runs.glob("*/metrics.jsonl"))
        if found and len(found[0].read_text().splitlines()) >= steps:
            return found[0].parent
        assert process.poll() is None
        time.sleep(0.2)


def followers(process) -> list[int]:
    """Processes that a run has started as ranks."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"azr.train.ranks" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def assert_complete(run: Path):
    assert [line["step"] for line in metrics(run)] == list(range(1, STEPS + 1))
    assert (run / "model" / "model.safetensors").exists()


@pytest.fixture
def config(apprentice, tmp_path):
    return tiny_config(tmp_path, apprentice, steps=STEPS)


def training(config, *words):
    return ["azr", "train", str(config), f"output_dir={config.parent / 'runs'}", *words]


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["replicated", "sharded"])
def test_a_rank_that_dies_ends_the_run_with_one_line_and_it_can_be_resumed(config, tmp_path, sharding):
    process = start(training(config, "learner.processes=2", f"learner.sharding={sharding}"), tmp_path)
    run = started(process, tmp_path / "runs", steps=2)
    (follower,) = followers(process)
    os.kill(follower, signal.SIGKILL)
    assert process.wait(timeout=60) == 2
    (line,) = [line for line in (tmp_path / "out.stderr").read_text().splitlines() if line.startswith("azr: error:")]
    assert "learner rank 1 has died" in line
    assert "Traceback" not in (tmp_path / "out.stderr").read_text()
    assert azr("train", "--resume", run, cwd=tmp_path).returncode == 0
    assert_complete(run)


@pytest.mark.slow
def test_a_rank_whose_leader_dies_ends_too(config, tmp_path):
    process = start(training(config, "learner.processes=2"), tmp_path)
    started(process, tmp_path / "runs", steps=1)
    (follower,) = followers(process)
    process.kill()
    process.wait()
    for _ in range(600):
        if not Path(f"/proc/{follower}/cmdline").exists() or not Path(f"/proc/{follower}/cmdline").read_bytes():
            return
        time.sleep(0.1)
    pytest.fail("it is still there")


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["leader", "follower"])
def test_sigterm_on_any_rank_saves(config, tmp_path, whom):
    process = start(training(config, "learner.processes=2", "checkpoint.every=100"), tmp_path)
    run = started(process, tmp_path / "runs", steps=2)
    os.kill(process.pid if whom == "leader" else followers(process)[0], signal.SIGTERM)
    assert process.wait(timeout=60) == 3
    done = len(metrics(run))
    assert max(path.name for path in (run / "checkpoints").iterdir()) == f"{done:06d}" >= "000002"
    assert azr("train", "--resume", run, "learner.processes=1", cwd=tmp_path).returncode == 0
    assert_complete(run)


def node(rank, port, folder, words):
    options = ["--nnodes=2", f"--node-rank={rank}", "--nproc-per-node=1", "--master-addr=127.0.0.1"]
    command = ["torch.distributed.run", *options, f"--master-port={port}", "-m", *words]
    return start(command, folder, f"node{rank}", GLOO_SOCKET_IFNAME="lo")


@pytest.mark.slow
def test_two_machines_finish_a_run_of_which_one_was_killed(config, tmp_path):
    words, port = training(config, "learner.sharding=sharded"), free_port()
    nodes = [node(rank, port, tmp_path, words) for rank in (0, 1)]
    run = started(nodes[0], tmp_path / "runs", steps=2)
    children = Path(f"/proc/{nodes[1].pid}/task/{nodes[1].pid}/children").read_text().split()
    for pid in [nodes[1].pid, *map(int, children)]:  # the machine goes as a whole
        os.kill(pid, signal.SIGKILL)
    assert [process.wait(timeout=90) != 0 for process in nodes] == [True, True]
    assert "azr: error: learner rank 1 has died" in (tmp_path / "node0.stderr").read_text()
    port = free_port()
    nodes = [node(rank, port, tmp_path, ["azr", "train", "--resume", str(run)]) for rank in (0, 1)]
    assert [process.wait(timeout=200) for process in nodes] == [0, 0]
    assert_complete(run)


@pytest.mark.slow
@pytest.mark.parametrize("sees", [0, 1])
def test_the_node_of_rank_0_decides_whether_a_run_is_continued(config, tmp_path, sees):
    """The file system of the other node is slow: there deploy/azr-run finds no run, or one that rank 0 does not know."""
    words = ["train", str(config), f"output_dir={tmp_path / 'node'}{sees}", "steps=2"]
    assert azr(*words, cwd=tmp_path).returncode == 0
    run, port, nodes = only_run(tmp_path / f"node{sees}"), free_port(), []
    for rank in (0, 1):
        torchrun = f"{sys.executable} -m torch.distributed.run --nnodes=2 --node-rank={rank} --nproc-per-node=1"
        torchrun += f" --master-addr=127.0.0.1 --master-port={port} -m azr"
        command = ["sh", str(AZR_RUN), str(tmp_path / f"node{rank}"), str(config), "steps=3"]
        nodes.append(subprocess.Popen(command, env=os.environ | {"AZR": torchrun, "GLOO_SOCKET_IFNAME": "lo"}))
    assert [process.wait(timeout=200) for process in nodes] == [0, 0]
    assert len(metrics(run)) == (3 if sees == 0 else 2)
    assert [len(metrics(new)) for new in (tmp_path / f"node{1 - sees}").glob("*")] == ([] if sees == 0 else [3])


@pytest.mark.slow
def test_equal_runs_on_two_ranks_are_equal(config, tmp_path):
    found = []
    for name in "ab":
        words = ["train", str(config), f"output_dir={tmp_path / name}", "learner.processes=2", "steps=2"]
        assert azr(*words, cwd=tmp_path, fresh=True).returncode == 0
        run = only_run(tmp_path / name)
        found.append([(run / "model" / "model.safetensors").read_bytes(), (run / "events.jsonl").read_bytes()])
    assert found[0] == found[1]


@pytest.mark.slow
def test_two_ranks_play_the_first_step_of_one_process(config, tmp_path):
    texts = []
    for number in (1, 2):
        words = ["train", str(config), f"output_dir={tmp_path / str(number)}", f"learner.processes={number}", "steps=1"]
        assert azr(*words, cwd=tmp_path).returncode == 0
        events = map(json.loads, (only_run(tmp_path / str(number)) / "events.jsonl").read_text().splitlines())
        texts.append([(event["event"], event.get("step"), event["text"]) for event in events if "text" in event])
    assert len(texts[0]) > 10
    assert texts[0] == texts[1]


def test_sharded_eight_bit_moments_are_refused_in_one_line(config, tmp_path):
    words = [*training(config)[1:], "learner.sharding=sharded", "learner.optimizer=adamw-8bit"]
    refused = azr(*words, cwd=tmp_path)
    assert refused.returncode == 2
    assert "optimizer = adamw-8bit cannot be sharded" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
