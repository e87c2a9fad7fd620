"""Garbage collection rests while `azr train` starts, and in no program that uses azr as a library."""

import subprocess
import sys
from pathlib import Path

import pytest

STATE = "import gc; state = lambda: print(gc.isenabled(), gc.get_freeze_count() > 0)\n"


def said(script: str) -> list[str]:
    found = subprocess.run([sys.executable, "-c", STATE + script], capture_output=True, text=True, check=True)
    return found.stdout.splitlines()


def test_nothing_is_collected_between_begin_and_done() -> None:
    script = "from azr import startup; startup.begin(); state(); startup.done(); state()"
    assert said(script) == ["False False", "True True"]


@pytest.mark.parametrize("switch", ["enable", "disable"])
def test_without_begin_the_collector_stays_as_it_is(switch: str) -> None:
    script = f"from azr import startup; gc.{switch}(); startup.done(); state()"
    assert said(script) == [f"{switch == 'enable'} False"]


TRAIN = """
import os, sys
from azr import cli
import azr.models.load, azr.train.training
load = azr.models.load.load_model
azr.models.load.load_model = lambda config: (state(), load(config))[1]
azr.train.training.Training.run = lambda _: (state(), sys.stdout.flush(), os._exit(0))
sys.argv = ["azr", "train", "demo", "learner.processes=1", "output_dir='{folder}'"]
cli.main()
"""


def test_a_run_loads_without_collection_and_trains_with_it(tmp_path: Path) -> None:
    states = [line for line in said(TRAIN.replace("{folder}", str(tmp_path))) if line.split()[0] in ("True", "False")]
    assert states == ["False False", "True True"]
