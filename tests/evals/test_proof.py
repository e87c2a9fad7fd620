"""All of HumanEval, MBPP and CRUXEval through the public command; skipped if their files are missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from azr.evals.variants import VARIANTS

DATA = Path(os.environ.get("AZR_DATA") or Path(__file__).parents[3] / "shared" / "data").resolve()
FILES = {
    "humaneval": (164, "HumanEval.jsonl.gz"),
    "mbpp": (974, "mbpp.jsonl"),
    "mbpp-sanitized": (427, "sanitized-mbpp.json"),
    "cruxeval-i": (800, "cruxeval.jsonl"),
    "cruxeval-o": (800, "cruxeval.jsonl"),
}
SIZES = {name: size for name, (size, file) in FILES.items() if (DATA / file).is_file()}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SIZES, reason="set AZR_DATA to the folder of the publishers' files"),
]


def evaluate(folder: Path, *words: str) -> None:
    command = [sys.executable, "-m", "azr", "eval", *words, "--bench", ",".join(SIZES), "--data", str(DATA)]
    subprocess.run([*command, "--out", "out"], cwd=folder, check=True, capture_output=True)


def correct(folder: Path) -> dict[tuple[str, str], tuple[int, int]]:
    """Right answers and problems, by contestant and benchmark."""
    found = json.loads((folder / "out" / "results.json").read_text())["results"]
    return {(of["model"], of["benchmark"]): (sum(of["correct"].values()), len(of["correct"])) for of in found}


def test_gold_answers_score_everything(tmp_path):
    evaluate(tmp_path, "--gold")
    assert correct(tmp_path) == {("gold", name): (size, size) for name, size in SIZES.items()}


def test_broken_answers_score_nothing(tmp_path):
    evaluate(tmp_path, "--broken", "all")
    found = correct(tmp_path)
    assert len(found) == len(VARIANTS) * len(SIZES)
    assert {right for right, _ in found.values()} == {0}
