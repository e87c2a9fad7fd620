"""`azr serve`: what it starts, in which environment, and what it says when it cannot."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr.errors import UserError
from azr.serve import Request, command, numbers
from tests.runs import azr

STAND_IN = """#!{python}
import json, os, sys
if sys.argv[1] == "-c":
    sys.path.insert(0, {packages!r})
    exec(sys.argv[2])
else:
    print(json.dumps({{"arguments": sys.argv[1:], "variables": dict(os.environ)}}))
"""


@pytest.fixture
def environment(tmp_path: Path):
    """An environment whose interpreter tells how it was started; it has vLLM's files, as far as they are looked at."""
    source = tmp_path / "packages" / "vllm" / "entrypoints" / "launchers"
    source.mkdir(parents=True)
    (source.parents[1] / "__init__.py").touch()
    (source / "cli_args.py").write_text("enable_scale_out: bool = False\n")
    python = tmp_path / "python"
    python.write_text(STAND_IN.format(python=sys.executable, packages=str(tmp_path / "packages")))
    python.chmod(0o755)
    return {**os.environ, "AZR_VLLM_PYTHON": str(python)}


def serve(environment, *words: object) -> subprocess.CompletedProcess[str]:
    return azr("serve", *words, cwd=Path(environment["AZR_VLLM_PYTHON"]).parent, env=environment)


def test_it_becomes_vllm_with_the_flags_that_a_run_needs(environment):
    done = serve(environment, "nursery", "--cpu", "--port", 8123, "--", "--max-model-len", "512")
    told = json.loads(done.stdout)
    arguments = told["arguments"]
    assert arguments[:2] == ["-m", "vllm.entrypoints.openai.api_server"]
    assert Path(arguments[arguments.index("--model") + 1]).name == "nursery"
    flags = {name: arguments[arguments.index(name) + 1] for name in ("--host", "--port", "--logprobs-mode", "--dtype")}
    assert flags == {
        "--host": "127.0.0.1",
        "--port": "8123",
        "--logprobs-mode": "processed_logprobs",
        "--dtype": "float32",
    }
    assert "--enable-scale-out" in arguments
    assert "--no-enable-chunked-prefill" in arguments
    assert arguments[-2:] == ["--max-model-len", "512"]
    assert told["variables"]["VLLM_SERVER_DEV_MODE"] == "1"


def test_it_warns_that_whoever_reaches_it_can_run_code(environment):
    done = serve(environment, "nursery", "--cpu", "--host", "10.0.0.5")
    assert done.stderr.startswith("azr: warning: whoever reaches http://10.0.0.5:8000 can run any code")
    assert len(done.stderr.splitlines()) == 1


def test_an_older_vllm_is_not_given_a_flag_that_it_lacks(environment):
    for path in Path(environment["AZR_VLLM_PYTHON"]).parent.glob("packages/vllm/entrypoints/*/cli_args.py"):
        path.write_text("")
    assert "--enable-scale-out" not in json.loads(serve(environment, "nursery", "--cpu").stdout)["arguments"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nursery"], "takes either --gpus, such as --gpus 0-3, or --cpu"),
        (["nursery", "--cpu", "--gpus", "0"], "takes either --gpus"),
        (["nursery", "--gpus", "a"], "--gpus a: expected numbers and ranges"),
        (["nursery", "--gpus", "0-2", "--tensor-parallel", "2"], "--gpus 0-2: 3 GPUs in groups of --tensor-parallel 2"),
    ],
)
def test_words_that_make_no_sense(environment, words, expected):
    done = serve(environment, *words)
    assert done.returncode == 2
    assert expected in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_interpreter_that_is_missing_or_has_no_vllm_is_named(environment, tmp_path):
    missing = serve({**environment, "AZR_VLLM_PYTHON": str(tmp_path / "none")}, "nursery", "--cpu")
    assert missing.returncode == 2
    assert f"no vLLM: {tmp_path / 'none'} is missing; install vLLM" in missing.stderr
    (tmp_path / "packages" / "vllm").rename(tmp_path / "packages" / "other")
    empty = serve(environment, "nursery", "--cpu")
    assert empty.returncode == 2
    assert "has no vLLM; install it there" in empty.stderr


def test_gpus_are_shared_by_copies_of_the_model():
    arguments, variables = command(Request("m", "2-7", 2, "127.0.0.1", 8000))
    assert variables["CUDA_VISIBLE_DEVICES"] == "2,3,4,5,6,7"
    assert arguments[arguments.index("--tensor-parallel-size") + 1] == "2"
    assert arguments[arguments.index("--data-parallel-size") + 1] == "3"
    assert json.loads(arguments[arguments.index("--weight-transfer-config") + 1]) == {"backend": "nccl"}
    assert "--enforce-eager" not in arguments


@given(st.sets(st.integers(0, 40), min_size=1))
def test_numbers_of_gpus_are_read_back(gpus: set[int]):
    assert numbers(",".join(map(str, gpus))) == [*gpus]


@given(st.integers(0, 40), st.integers(0, 40))
def test_a_range_has_both_its_ends_and_runs_upwards(first: int, last: int):
    if first <= last:
        assert numbers(f"{first}-{last}") == [*range(first, last + 1)]
    else:
        with pytest.raises(UserError, match="ranges upwards"):
            numbers(f"{first}-{last}")
