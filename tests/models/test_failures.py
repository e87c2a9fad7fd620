"""The error messages of a first evening: each one line, with what to do."""

import http.server
import os
import subprocess
import sys
import threading
import warnings

import pytest
import torch

from azr.config import ModelConfig
from azr.errors import UserError
from azr.models.failures import out_of_memory, pick_device
from azr.models.load import load_model
from tests.runs import azr, tiny_config
from tests.test_cli import error_line

LOAD = """
import sys
from azr.config import ModelConfig
from azr.errors import UserError
from azr.models.load import load_model
for name in sys.argv[1:]:
    try:
        load_model(ModelConfig(name=name, device="cpu"))
    except UserError as error:
        print(str(error))
"""


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers as the hub does for a name that nobody took, and for a model behind terms of use."""

    def do_GET(self) -> None:
        gated = self.path.startswith(("/owner/gated", "/api/models/owner/gated"))
        self.send_response(403 if gated else 404)
        self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


def load_elsewhere(endpoint, home, *names):
    """Messages, one a name, of a process that takes this server for the hub."""
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
    words = [sys.executable, "-c", LOAD, *names]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        return load_elsewhere(endpoint, tmp_path_factory.mktemp("home"), "owner/misspelt", "owner/gated")
    finally:
        server.shutdown()
        server.server_close()


def test_every_refusal_is_one_line(refusals):
    assert len(refusals) == 2


def test_a_wrong_name_says_to_check_it(refusals):
    assert refusals[0].startswith("model owner/misspelt: cannot be loaded: no such model on the hub")
    assert "check the name" in refusals[0]


def test_a_gated_model_says_where_to_accept_its_terms(refusals):
    assert "do so at https://huggingface.co/owner/gated, then log in with: hf auth login" in refusals[1]


def test_a_name_that_is_neither_folder_nor_hub_name_says_so(tmp_path):
    with pytest.raises(UserError, match="no such folder, and not a valid name on the hub"):
        load_model(ModelConfig(name=str(tmp_path / "none")))


def test_a_folder_without_a_model_says_what_is_missing(tmp_path):
    with pytest.raises(UserError, match=r"the folder has no config\.json"):
        load_model(ModelConfig(name=str(tmp_path)))


def test_a_model_beyond_the_machines_memory_says_what_to_try(folders, monkeypatch):
    def allocate(*_, **__):
        torch.empty(2**50, dtype=torch.float32)  # torch's own words for memory that is not there

    monkeypatch.setattr("azr.models.load.AutoModelForCausalLM.from_pretrained", allocate)
    with pytest.raises(UserError, match="not enough memory; try"):
        load_model(ModelConfig(name=str(folders["qwen2"])))


def test_memory_that_is_used_up_is_told_from_other_errors():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert out_of_memory(caught.value)
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert not out_of_memory(RuntimeError("shape mismatch"))


def test_an_absent_device_is_named():
    with pytest.raises(UserError, match=r"model\.device = warp") as caught:
        pick_device("warp")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_asking_for_cuda_without_any_is_one_line():
    with pytest.raises(UserError, match=r"model\.device = cuda: ") as caught:
        pick_device("cuda")
    assert "\n" not in str(caught.value)


OLD = (
    "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040). Please update your GPU"
    " driver by downloading and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx"
)


def test_a_driver_that_is_too_old_is_told_and_not_passed_over(monkeypatch):
    def is_available():
        warnings.warn(OLD, stacklevel=1)  # what torch does; no such driver can be had here
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    with pytest.raises(UserError, match=r"driver supports CUDA up to 11\.4.*model\.device=cpu") as caught:
        pick_device("auto")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_tokenizer_without_a_chat_template_is_found_out_before_the_run(apprentice, tmp_path):
    config = tiny_config(tmp_path, apprentice)
    line = error_line(azr("train", config, "domain.style=chat", "--output-dir", "out", cwd=tmp_path))
    assert "has no chat template; set domain.style=r1" in line
    assert not (tmp_path / "out").exists()
