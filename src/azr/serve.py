"""`azr serve`: becomes a vLLM server, from vLLM's own environment, with the flags that a run needs of it."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from azr.errors import UserError
from azr.models import shipped

PYTHON_VARIABLE = "AZR_VLLM_PYTHON"

_MODULE = ("-m", "vllm.entrypoints.openai.api_server")


@dataclass(frozen=True, slots=True)
class Request:
    """What to serve.

    Attributes:
        model: folder, hub name or the name of a shipped model.
        gpus: such as `2-7` or `0,2`; None: on the CPU.
        tensor_parallel: GPUs that share one copy of the model.
        host: address to listen on.
        port: port to listen on.
        more: further arguments of vLLM.
    """

    model: str
    gpus: str | None
    tensor_parallel: int
    host: str
    port: int
    more: Sequence[str] = ()


def serve(request: Request) -> NoReturn:
    """Replace this process by the server.

    Raises:
        UserError: vLLM is not installed, or the GPUs are not named as expected.
    """
    arguments, variables = command(request)
    python = vllm_python()
    if _has_scale_out(python):
        arguments.insert(len(_MODULE), "--enable-scale-out")
    print(
        f"azr: warning: whoever reaches http://{request.host}:{request.port} can run any code on this machine (vLLM's"
        " development routes change weights, and check nothing); keep it on a private network",
        file=sys.stderr,
        flush=True,
    )
    os.execve(python, [str(python), *arguments], {**os.environ, **variables})


def command(request: Request) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment variables that every vLLM takes.

    Raises:
        UserError: the GPUs are not named as expected, or cannot be shared equally.
    """
    arguments = [*_MODULE, "--model", shipped.resolve(request.model)]
    arguments += ["--host", request.host, "--port", str(request.port)]
    # The model's folder may have sampling defaults, and log-probabilities must be those of the sampling temperature.
    arguments += ["--generation-config", "vllm", "--logprobs-mode", "processed_logprobs"]
    variables = {"VLLM_SERVER_DEV_MODE": "1"}
    if request.gpus is None:
        # A prompt that is read in two parts ends vLLM's CPU build if its request has a seed ("CPU Generator does not
        # use offset", vLLM 0.32), and every request of a run has one.
        arguments += ["--dtype", "float32", "--enforce-eager", "--no-enable-chunked-prefill"]
        variables["VLLM_CPU_KVCACHE_SPACE"] = os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1")
    else:
        gpus = numbers(request.gpus)
        copies, left = divmod(len(gpus), request.tensor_parallel)
        if left:
            raise UserError(
                f"--gpus {request.gpus}: {len(gpus)} GPUs in groups of --tensor-parallel {request.tensor_parallel}"
            )
        arguments += ["--tensor-parallel-size", str(request.tensor_parallel), "--data-parallel-size", str(copies)]
        arguments += ["--weight-transfer-config", '{"backend": "nccl"}']
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
    return [*arguments, *request.more], variables


def numbers(text: str) -> list[int]:
    """GPUs from a text such as `2-7` or `0,2,5-6`.

    Raises:
        UserError: it is not such a text, or names a GPU twice.
    """
    found: list[int] = []
    for part in text.split(","):
        if (match := re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())) is None:
            raise UserError(f"--gpus {text}: expected numbers and ranges, such as 2-7 or 0,2")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    if not found or len(set(found)) != len(found):
        raise UserError(f"--gpus {text}: expected each GPU once, ranges upwards, such as 2-7 or 0,2")
    return found


def vllm_python() -> Path:
    """The interpreter of the environment that has vLLM.

    Raises:
        UserError: it is missing.
    """
    named = os.environ.get(PYTHON_VARIABLE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = os.environ.get("AZR_VLLM_HOME") or cache / "azr" / "vllm"
    python = Path(named) if named else Path(home) / "bin" / "python"
    if not python.is_file():
        raise UserError(
            f"no vLLM: {python} is missing; install vLLM into an environment of its own (python -m venv {home} &&"
            f" {home}/bin/pip install vllm), or name its interpreter in {PYTHON_VARIABLE}"
        )
    return python


def _has_scale_out(python: Path) -> bool:
    """Whether this vLLM knows `--enable-scale-out`, which opens `/inference/v1/generate`.

    From its source: asking the program itself takes half a minute.

    Raises:
        UserError: the environment has no vLLM.
    """
    look = (
        "from importlib.util import find_spec as f; s = f('vllm'); print(*(s.submodule_search_locations if s else ()))"
    )
    found = subprocess.run([python, "-c", look], capture_output=True, text=True, check=False)
    if not (folder := found.stdout.strip()):
        raise UserError(f"{python} has no vLLM; install it there, or name another interpreter in {PYTHON_VARIABLE}")
    return any("enable_scale_out" in path.read_text() for path in Path(folder).glob("entrypoints/**/cli_args.py"))
