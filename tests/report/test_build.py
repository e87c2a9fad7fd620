"""The page as a file: what goes in, what is escaped, what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import threading

import pytest

from azr.errors import UserError
from azr.report.build import LARGEST, report
from azr.report.explain import spread
from azr.report.page import for_script
from tests.report.logs import write_run
from tests.runs import azr

HOSTILE = '  """</script><script>document.title = "owned"</script><!-- <img src=x onerror=alert(1)> & \u2028"""'
DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)


def data_of(page: str):
    (found,) = DATA.findall(page)
    return json.loads(found)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    run = write_run(tmp_path_factory.mktemp("hostile"), steps=3, program=HOSTILE)
    return report([run]).read_text(encoding="utf-8")


def test_json_within_a_script_cannot_end_it():
    text = for_script({"a": "</script><!--&"})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"a": "</script><!--&"}


def test_nothing_that_was_written_is_in_the_page_as_markup(page):
    assert "owned" not in page  # the texts are compressed
    assert "onerror" not in DATA.sub("", page).replace(page[page.index("<script>") :], "")


def test_a_reason_or_a_name_with_markup_cannot_end_the_data(tmp_path):
    run = write_run(tmp_path / "<b>run", steps=2)
    text = (run / "events.jsonl").read_text().replace('"trivial": "constant"', '"trivial": "</script><script>x"')
    (run / "events.jsonl").write_text(text)
    page = report([run]).read_text()
    assert "</script><script>x" in data_of(page)["runs"][0]["curves"]["trivial"]
    assert page.count("<script") == 3
    assert "<title>&lt;b&gt;run" in page


def test_the_policy_allows_the_two_scripts_and_no_address(page):
    policy = page.split('Content-Security-Policy" content="')[1].split('"')[0].replace("&#39;", "'")
    scripts = re.findall(r"<script(?: type=\"module\")?>(.*?)</script>", page, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert len(digests) == 2
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{digests[0]}' 'sha256-{digests[1]}';"
        " style-src 'unsafe-inline'; img-src data:; connect-src 'none'"
    )


def test_the_page_names_what_it_does_not_show(tmp_path):
    run = write_run(tmp_path, steps=2)
    with (run / "events.jsonl").open("a") as file:
        file.write('{"event": "weather", "step": 2}\nnot json\n')
    (found,) = data_of(report([run]).read_text())["runs"]
    assert "events skipped: 1 of type weather" in found["notes"]
    assert "unreadable lines in the logs: 1" in found["notes"]


def test_a_run_that_goes_on_is_told_from_one_that_ended(tmp_path):
    runs = [write_run(tmp_path / "ended", steps=2), write_run(tmp_path / "going", steps=2, planned=9)]
    ended, going = data_of(report(runs, tmp_path / "both.html").read_text())["runs"]
    assert (ended["finished"], going["finished"]) == (True, False)
    assert (going["done"], going["planned"]) == (2, 9)


def test_runs_of_one_name_are_told_apart(tmp_path):
    runs = [write_run(tmp_path / name / "demo", steps=1) for name in ("one", "two")]
    found = data_of(report(runs, tmp_path / "both.html").read_text())["runs"]
    assert [run["name"] for run in found] == ["one/demo", "two/demo"]


def test_a_run_that_has_only_begun_makes_a_page(tmp_path):
    run = write_run(tmp_path, steps=1)
    (run / "events.jsonl").unlink()
    (run / "metrics.jsonl").unlink()
    (found,) = data_of(report([run]).read_text())["runs"]
    assert (found["done"], found["curves"]["step"]) == (0, [])


def test_a_small_page_leaves_texts_out_and_says_so(tmp_path, monkeypatch):
    run = write_run(tmp_path, steps=9)
    whole = len(report([run]).read_text())
    monkeypatch.setattr("azr.report.build.LARGEST", LARGEST - 10**9)  # less than nothing: only the least is left
    monkeypatch.setattr("azr.report.build.LEAST", 1500)
    page = report([run]).read_text()
    assert len(page) < whole
    assert any("left out" in note or "spread over the run" in note for note in data_of(page)["runs"][0]["notes"])


def test_events_that_no_ledger_can_be_made_of_do_no_harm(tmp_path):
    run = write_run(tmp_path, steps=2)
    text = (run / "events.jsonl").read_text()
    (run / "events.jsonl").write_text(text.replace('"sampler": "', '"sampler": "A'))
    (found,) = data_of(report([run]).read_text())["runs"]
    assert found["blocks"]["ledgers"] == {}
    assert found["done"] == 2


def test_a_folder_that_is_neither_a_run_nor_an_evaluation_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"neither a run \(config.toml\) nor an evaluation \(results.json\)"):
        report([tmp_path])


@pytest.mark.slow
def test_the_command_says_where_the_page_is(tmp_path):
    run = write_run(tmp_path / "run", steps=1)
    done = azr("report", run, "--out", tmp_path / "page.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "page.html"))
    refused = azr("report", tmp_path, cwd=tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("steps", "count", "expected"),
    [(range(1, 5), 9, [1, 2, 3, 4]), (range(1, 102), 5, [1, 26, 51, 76, 101]), (range(1, 9), 1, [8]), ([], 3, [])],
)
def test_steps_are_spread_from_the_first_to_the_last(steps, count, expected):
    assert spread(list(steps), count) == expected


def test_a_link_still_points_to_the_page_that_was_written(tmp_path):
    run = write_run(tmp_path / "run", steps=1)
    (tmp_path / "shared").mkdir()
    (tmp_path / "page.html").symlink_to(tmp_path / "shared" / "page.html")
    report([run], tmp_path / "page.html")
    assert (tmp_path / "page.html").is_symlink()
    assert DATA.search((tmp_path / "shared" / "page.html").read_text())


def test_a_pipe_is_written_to_and_stays_one(tmp_path):
    run, pipe, read = write_run(tmp_path / "run", steps=1), tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    report([run], pipe)
    assert pipe.is_fifo()
    reader.join(timeout=20)
    assert DATA.search(read[0])
