"""The page of a sweep in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from azr.analysis.seeds import curves, guess, table
from azr.report.page import render
from tests.analysis.test_seeds import RUNS
from tests.report.browser import Visit, chromium

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=document.title=1>"


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    runs = {"a": RUNS["a"], HOSTILE: RUNS["b"]}
    lines = [{"setting": "a", "seed": 0, "state": "finished", "steps": 2, "gain": 0.1, "folder": "a/0/run"}]
    lines.append({"setting": HOSTILE, "seed": 3, "state": "not started"})
    sweep = {"name": "sweep", "about": {"preset": "primes"}, "table": table(runs), "figures": curves(runs)}
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(render({"runs": [], "evals": [], "sweep": sweep | {"guess": guess(runs), "runs": lines}}))
    return file


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_shows_the_table_and_draws_every_curve(page, width):
    with chromium() as browser:
        seen = Visit(browser, page, width=width)
        cells = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent.replace(/[\u2212\u2013]/g, '-').replace(/\u00a0/g, ' ')))"
        first, second = seen.page.eval_on_selector_all("#settings tbody tr", cells)
        assert first == ["a", "3", "20.0 %", "50.0 %", "50.0 %", "+30.0-19.7 to +79.7", "-"]
        assert second[0] == HOSTILE
        assert second[-1] == "+15.0-48.5 to +78.5"
        seen.until("[...document.querySelectorAll('.chart')].every(chart => chart.dataset.drawn)")
        assert seen.page.locator(".chart").count() == 3
        assert seen.numbers("sweep-held-out")[1] == ["2", "a", "50.0 %"]
        assert seen.page.eval_on_selector_all("#runs tbody tr", cells)[1] == [
            HOSTILE,
            "3",
            "not started",
            "-",
            "-",
            "-",
        ]
        assert seen.page.title() == "sweep · azr report"
        assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        seen.close()
