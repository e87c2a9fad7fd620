"""A run with all three trackers, killed after its last checkpoint and resumed: what each holds, by its own reader."""

import json
import os
import shutil
import struct
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.runs import azr, metrics, only_run, tiny_config

pytestmark = pytest.mark.slow

STEPS = 4
TRACKIO = """
import json, trackio
from trackio.sqlite_storage import SQLiteStorage
(run,) = trackio.Api().runs("azr")
print(json.dumps([run.name, SQLiteStorage.get_logs("azr", run.name, run_id=run.id), run.config]))
"""


@pytest.fixture(scope="module")
def run(apprentice, tmp_path_factory) -> Path:
    """Three steps; the last checkpoint is lost, so that step 3 is played again; then step 4."""
    folder = tmp_path_factory.mktemp("tracked")
    config = tiny_config(folder, apprentice)
    environment = os.environ | {"TRACKIO_DIR": str(folder / "trackio"), "WANDB_SILENT": "true"}
    environment.pop("WANDB_API_KEY", None)
    trackers = ("trackers.use=tensorboard,wandb,trackio", "trackers.wandb_mode=offline")
    evaluation = ("evaluation.tasks=2", "evaluation.every=2")
    first = azr(
        "train",
        config,
        "--output-dir",
        folder / "runs",
        *trackers,
        *evaluation,
        cwd=folder,
        env=environment,
        fresh=True,
    )
    assert first.returncode == 0, first.stderr
    path = only_run(folder / "runs")
    shutil.rmtree(path / "checkpoints" / "000003")
    second = azr("train", "--resume", path, f"steps={STEPS}", cwd=folder, env=environment, fresh=True)
    assert second.returncode == 0, second.stderr
    assert "resumed after step 2" in second.stdout
    return path


def expected(run: Path) -> dict[int, float]:
    return {line["step"]: line["learner"]["loss"] for line in metrics(run) if "learner" in line}


def test_tensorboard_holds_every_step_once(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(run / "tensorboard")).Reload()
    losses = [(event.step, event.value) for event in read.Scalars("learner/loss")]
    assert losses == [(step, pytest.approx(loss)) for step, loss in expected(run).items()]
    assert [event.step for event in read.Scalars("held_out/mean/accuracy")] == [0, 2, 3, 4]
    (config,) = read.Tensors("config/text_summary")
    assert b'    name = "python"' in config.tensor_proto.string_val[0]
    assert any(tag.startswith("tasks/0_") for tag in read.Tags()["tensors"])


def test_wandb_holds_every_step_once_in_one_run(run):
    records = [record for file in sorted((run / "wandb").glob("offline-run-*/*.wandb")) for record in wandb_file(file)]
    assert len({record.run.run_id for record in records if record.HasField("run")}) == 1
    rows = [history(record) for record in records if record.HasField("history")]
    losses = [(row["azr_step"], row["learner/loss"]) for row in rows if "learner/loss" in row]
    assert losses == list(expected(run).items())
    assert [row["azr_step"] for row in rows if "held_out/mean/accuracy" in row] == [0, 2, 3, 4]
    configs = [record.run.config.update for record in records if record.HasField("run")]
    assert any(item.key == "steps" for config in configs for item in config)
    tables = [row["tasks/path"] for row in rows if row["tasks/_type"] == "table-file"]
    (file,) = run.glob(f"wandb/offline-run-*/files/{tables[0]}")
    table = json.loads(file.read_text())
    assert table["columns"] == ["kind", "task", "solve_rate", "reward"]
    assert table["data"][0][0] == "deduction"
    assert table["data"][0][1].startswith("def f(")


def test_trackio_holds_every_step_once(run):
    environment = os.environ | {"TRACKIO_DIR": str(run.parents[1] / "trackio")}
    done = subprocess.run(
        [sys.executable, "-c", TRACKIO], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    name, rows, config = json.loads(done.stdout.splitlines()[-1])
    assert name == run.name
    losses = [(row["step"], row["learner/loss"]) for row in rows if row.get("learner/loss") is not None]
    assert losses == [(step, pytest.approx(loss)) for step, loss in expected(run).items()]
    held_out = [row["step"] for row in rows if row.get("held_out/mean/accuracy") is not None]
    assert held_out == [0, 2, 3, 4]
    assert config["domain"]["name"] == "python"
    table = next(row["tasks"] for row in rows if row.get("tasks"))
    assert table["_value"][0]["task"].startswith("    def f(")


def wandb_file(path: Path):
    """Records of an offline run: a LevelDB log (blocks of 32 KiB; length and part of each chunk) of protobufs."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, whole = path.read_bytes(), 7, b""
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, part = struct.unpack("<IHB", data[position : position + 7])
        if not part:
            break
        whole += data[position + 7 : position + 7 + length]
        position += 7 + length
        if part in (1, 4):  # a full record, or the last part of one
            yield Record.FromString(whole)
            whole = b""


def history(record) -> dict:
    row: dict = defaultdict(dict)
    for item in record.history.item:
        row[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return row
