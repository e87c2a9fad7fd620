"""Runs written by hand, their page, and a browser to visit it with."""

from __future__ import annotations

from pathlib import Path

import pytest

from azr.report.build import report
from tests.report.logs import write_run
from tests.report.test_completions import write_evaluation

HOSTILE = '\n    """</script><script>document.title = "owned"</script><img src=x onerror="document.title=1">"""'


@pytest.fixture(scope="module")  # while it is open, Playwright's own event loop keeps others from running
def browser():
    from tests.report.browser import chromium

    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    run = write_run(tmp_path_factory.mktemp("runs") / "one", program=HOSTILE)
    write_evaluation(run / "evals")
    return run


@pytest.fixture(scope="session")
def page(run) -> Path:
    return report([run])


@pytest.fixture(scope="session")
def pair(run, tmp_path_factory) -> Path:
    other = write_run(tmp_path_factory.mktemp("more") / "two", steps=4, planned=9, seed=1)
    return report([run, other], other / "both.html")


@pytest.fixture
def visit(browser):
    """Opens a page; at the end nothing may have been complained of."""
    from tests.report.browser import Visit

    visits: list[Visit] = []

    def open_page(file: Path, **how) -> Visit:
        visits.append(Visit(browser, file, **how))
        return visits[-1]

    yield open_page
    for one in visits:
        one.close()
