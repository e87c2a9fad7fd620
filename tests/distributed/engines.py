"""Real vLLM servers on the CPU, started as a user starts them: by `azr serve`, in a process group of their own."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from azr.errors import UserError
from azr.serve import vllm_python

PATIENCE_SECONDS = 900
"""One starts in half a minute on an idle core, and in several where three share two busy ones."""


def interpreter() -> Path:
    """The interpreter of the environment with vLLM; skips without one, unless AZR_REQUIRE_VLLM is set."""
    try:
        return vllm_python()
    except UserError as error:
        if os.environ.get("AZR_REQUIRE_VLLM"):
            pytest.fail(f"AZR_REQUIRE_VLLM is set, but there is {error}; .ci/vllm installs it")
        pytest.skip("no vLLM; .ci/vllm installs it")


def untied(model: Path, folder: Path) -> Path:
    """A copy of a model with tied embeddings whose head is a matrix of its own."""
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"tie_word_embeddings": False}))
    return folder


class Engine:
    """One server."""

    def __init__(self, model: Path | str, log: Path) -> None:
        interpreter()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url, self._log = f"http://127.0.0.1:{port}", log
        command = [sys.executable, "-m", "azr", "serve", str(model), "--cpu", "--port", str(port), "--"]
        # As many requests at once as the tests make, and as few threads as there are cores to share.
        settings = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "HF_HUB_OFFLINE": "1"}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, "--max-num-seqs", "64"],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **settings, "VLLM_NO_USAGE_STATS": "1"},
                start_new_session=True,
            )

    def ready(self) -> None:
        """Wait until it answers."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=5).close()
                return
            except (urllib.error.URLError, OSError):
                assert self._process.poll() is None, self._log.read_text()[-3000:]
                time.sleep(1)
        raise TimeoutError(self._log.read_text()[-3000:])

    def get(self, route: str) -> dict[str, object]:
        """What a route says."""
        with urllib.request.urlopen(self.url + route, timeout=60) as answer:
            found: dict[str, object] = json.loads(answer.read())
        return found

    def sampled(self) -> int:
        """How many samples it was asked for."""
        return self._log.read_text(errors="replace").count('"POST /inference/v1/generate')

    def kill(self) -> None:
        """`kill -9`, with all of its processes. Safe to call twice."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
