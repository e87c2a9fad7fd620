"""The live page's server: this machine only, reading only, two addresses only."""

import http.client
import json
import socket
from contextlib import contextmanager

import pytest

from azr.errors import UserError
from azr.watch import server as watched
from azr.watch.server import DATA, LivePage, LiveServer
from tests.played import play
from tests.selfplay.test_selfplay import script


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return play(tmp_path_factory.mktemp("watched"), script, 1)[0].path


@pytest.fixture(scope="module")
def served(run):
    with pytest.MonkeyPatch.context() as patch, LiveServer(LivePage(run), 0) as server:
        patch.setattr(watched, "REST_SECONDS", 0.0)
        yield server


def ask(server, path="/", method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


@contextmanager
def appended(path, text):
    """More lines in a log, until the end of the block."""
    before = path.read_bytes()
    with path.open("a") as file:
        file.write(text)
    try:
        yield
    finally:
        path.write_bytes(before)


@pytest.mark.slow  # the page's library of charts is put together once a process, for two seconds
def test_the_page_is_the_report_and_asks_for_newer_data(served, run):
    answer, body = ask(served)
    assert answer.status == 200
    page = body.decode()
    assert run.name in page
    assert f'data-live="{DATA}"' in page


def test_the_data_follow_the_growing_log(served, run):
    answer, body = ask(served, DATA)
    (first,) = json.loads(body)["runs"]
    assert first["done"] == 1
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    update = next(event for event in events if event["event"] == "update")
    proposal = next(event for event in events if event["event"] == "proposal" and event["step"] == 1)
    more = [proposal | {"step": 2, "id": "2/propose/deduction/0000"}, update | {"step": 2}]
    with appended(run / "events.jsonl", "".join(json.dumps(event) + "\n" for event in more) + '{"event": "prop'):
        later, body = ask(served, DATA, **{"If-None-Match": answer.headers["ETag"]})
        assert later.status == 200
        assert json.loads(body)["runs"][0]["done"] == 2


def test_what_has_not_changed_is_not_sent_again(served):
    answer, _ = ask(served, DATA)
    again, body = ask(served, DATA, **{"If-None-Match": answer.headers["ETag"]})
    assert (again.status, body) == (304, b"")


def test_it_listens_on_the_loopback_address_alone(served):
    assert served.server_address[0] == "127.0.0.1"
    with socket.socket() as outside:
        outside.settimeout(5)
        with pytest.raises(OSError, match="refused"):
            outside.connect(("127.0.0.2", served.port))  # another address of this very machine


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_whatever_would_change_something_is_refused(served, method):
    answer, _ = ask(served, DATA, method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"


def test_head_tells_the_headers_alone(served):
    answer, body = ask(served, DATA, "HEAD")
    assert (answer.status, body) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 1000


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1"])
def test_another_name_for_this_machine_is_refused(served, host):
    answer, body = ask(served, DATA, Host=host.format(port=served.port))
    assert answer.status == 403
    assert b"runs" not in body


def test_localhost_is_this_machine(served):
    assert ask(served, DATA, Host=f"localhost:{served.port}")[0].status == 200


@pytest.mark.parametrize(
    "path", ["/config.toml", "/../config.toml", "/%2e%2e/config.toml", "//etc/passwd", "/data.json/..", "/?x=1", "*"]
)
def test_no_address_reaches_a_file(served, path):
    answer, body = ask(served, path)
    assert answer.status == 404
    assert b"[model]" not in body


@pytest.mark.slow
def test_what_a_model_wrote_cannot_end_the_script_that_holds_it(served, run):
    events = (run / "events.jsonl").read_text().splitlines()
    proposal = next(json.loads(line) for line in events if '"event": "proposal", "step": 1,' in line)
    hostile = proposal | {"step": 2, "id": "2/propose/deduction/0000", "kind": "</script><script>alert(1)</script>"}
    update = json.dumps({"event": "update", "step": 2, "loss": 0.0})
    with appended(run / "events.jsonl", f"{json.dumps(hostile)}\n{update}\n"):
        _, body = ask(served)
    assert b"alert(1)" in body
    assert b"<script>alert(1)" not in body


def test_no_other_page_may_embed_it(served):
    headers = ask(served)[0].headers
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_port_that_is_taken_is_one_line(served, run):
    with pytest.raises(UserError, match=rf"--port {served.port}: address already in use; choose another"):
        LiveServer(LivePage(run), served.port)


def test_the_port_is_free_again_afterwards(run):
    with LiveServer(LivePage(run), 0) as server:
        ask(server, DATA)
        port = server.port
    with LiveServer(LivePage(run), port):
        pass


def test_what_is_no_run_is_one_line(tmp_path):
    with pytest.raises(UserError, match="not a run"):
        LivePage(tmp_path)
