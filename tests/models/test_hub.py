"""A hub that cannot be reached: found out by one look, without the waits of the hub's own client."""

import shutil
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils._http import default_client_factory

from azr.config import ModelConfig
from azr.errors import UserError
from azr.evals import benchmarks
from azr.models import hub
from azr.models.load import load_model

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def unreachable(monkeypatch, tmp_path):
    """Nobody at the hub's address, an empty cache (its folder is returned), and no patience for the hub's client."""

    def wait(_):
        raise AssertionError("somebody waits for a hub that is not there")

    def refuse(request):
        if not request.url.path.endswith("/agent-harnesses"):  # the client's own, once for each process
            asked.append(str(request.url))
        raise httpx.ConnectError("no route", request=request)

    asked = []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", NOBODY)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "_PAUSES", ())
    monkeypatch.setattr(time, "sleep", wait)
    set_client_factory(lambda: httpx.Client(transport=httpx.MockTransport(refuse)))
    yield tmp_path / "cache"
    set_client_factory(default_client_factory)
    assert asked == [NOBODY]  # by our one look, and by nobody else


def test_no_network_says_so(unreachable):
    with pytest.raises(UserError, match="the hub cannot be reached and the model was not downloaded before"):
        load_model(ModelConfig(name="owner/model", device="cpu"))


def test_a_model_that_was_downloaded_loads_without_a_network(unreachable, folders):
    copy = unreachable / "models--owner--model"
    shutil.copytree(folders["llama"], copy / "snapshots" / ("0" * 40))
    (copy / "refs").mkdir()
    (copy / "refs" / "main").write_text("0" * 40)
    assert load_model(ModelConfig(name="owner/model", device="cpu")).name == "owner/model"


@pytest.mark.slow  # imports datasets
@pytest.mark.parametrize("name", ["humaneval", "apps"])
def test_a_benchmark_says_that_the_hub_cannot_be_reached(unreachable, name):
    with pytest.raises(UserError, match=r"(annot be reached|Couldn't reach).*give --data FOLDER"):
        benchmarks.LOADERS[name](None)


def test_looking_leaves_the_hubs_client_as_it_is(unreachable):
    before = dict(vars(constants))
    assert hub.only_local("owner/model")
    assert vars(constants) == before


def test_nobody_asks_where_the_client_is_told_to_stay_offline(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "answers", lambda *_, **__: pytest.fail("somebody asks"))
    assert hub.unreachable() is None


def test_a_folder_needs_no_hub(folders, monkeypatch):
    monkeypatch.setattr(hub, "answers", lambda *_, **__: pytest.fail("somebody asks"))
    assert hub.only_local(str(folders["llama"]))


def test_a_hub_that_takes_its_time_is_there():
    done = threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            done.wait(60)

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert hub.answers(f"http://127.0.0.1:{server.server_port}", within=1.0)
        done.set()
        server.shutdown()


def test_a_network_that_comes_up_at_the_second_try_is_there(monkeypatch):
    tried = []

    class Session:
        def head(self, address, **_):
            tried.append(address)
            if len(tried) == 1:
                raise httpx.ConnectError("no route")

    monkeypatch.setattr(hub, "get_session", Session)
    monkeypatch.setattr(hub, "_PAUSES", (0.0,))
    assert hub.answers(NOBODY, within=5.0)
    assert len(tried) == 2


def test_a_name_server_that_keeps_silent_is_not_waited_for(monkeypatch):
    end, answered = threading.Event(), []

    def lookup(*_, **__):
        answered.append(end.wait(5))
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    assert not hub.answers("http://hub.invalid", within=0.2)
    assert answered == []
    end.set()
