"""The live page in a real browser: it draws itself anew as the log grows, and asks nobody but its own server."""

import json

import pytest

from azr.watch.server import LivePage, LiveServer
from tests.played import play
from tests.report.browser import PATIENCE_MS, chromium
from tests.selfplay.test_selfplay import script

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return play(tmp_path_factory.mktemp("watched"), script, 1)[0].path


@pytest.fixture(scope="module")
def browser(run):  # after the run: Playwright has an event loop of its own for as long as it is open
    with chromium() as found:
        yield found


def test_the_page_follows_the_run(run, browser):
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    complaints, requests = [], []
    with LiveServer(LivePage(run), 0) as server:
        page = browser.new_context().new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(server.address)
        page.wait_for_selector("text=1 of 2 steps")
        with (run / "events.jsonl").open("a") as file:
            for event in events:
                if event["step"] == 1:
                    file.write(json.dumps(event).replace('"step": 1,', '"step": 2,').replace('"1/', '"2/') + "\n")
        page.wait_for_selector("text=2 of 2 steps")
        page.context.close()
    assert complaints == []
    assert {request.partition("data.json")[0] for request in requests} == {server.address}
