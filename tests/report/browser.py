"""A real Chromium: it is Debian's, driven by Playwright, and is offline but for the page itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

PATIENCE_MS = 90_000
"""A busy machine takes its time; on an idle one nothing waits as long as a second."""
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser; skip where there is none, unless AZR_REQUIRE_BROWSER is set."""
    program = shutil.which("chromium")
    if program is None:
        if os.environ.get("AZR_REQUIRE_BROWSER"):
            pytest.fail("AZR_REQUIRE_BROWSER is set, but there is no chromium; .ci/browser installs it")
        pytest.skip("no chromium; .ci/browser installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


class Visit:
    """A page in a window of its own, with all that it complained of and asked for."""

    def __init__(
        self, browser: Browser, file: Path, *, width: int = 1360, height: int = 900, dark: bool = False
    ) -> None:
        scheme = "dark" if dark else "light"
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.url = file.as_uri()
        self.page.goto(self.url)
        self.page.wait_for_selector("body[data-ready]", state="attached")

    def numbers(self, figure: str) -> list[list[str]]:
        """The table behind a figure, opened by keyboard; non-breaking spaces as spaces."""
        self.page.focus(f"#figure-{figure} details.data summary")
        self.page.keyboard.press("Enter")
        cells = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent.replaceAll('\\u00a0', ' ')))"
        self.page.wait_for_selector(f"#figure-{figure} details.data tbody tr")
        found: list[list[str]] = self.page.eval_on_selector_all(f"#figure-{figure} details.data tbody tr", cells)
        return found

    def until(self, expression: str) -> None:
        """Wait until an expression is true. Playwright's own wait would evaluate a string, which the page forbids."""
        for _ in range(PATIENCE_MS // 50):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        pytest.fail(f"never came true: {expression}")

    def text(self, selector: str) -> str:
        """Of the first element that matches; non-breaking spaces as spaces."""
        return (self.page.text_content(selector) or "").replace("\u00a0", " ")

    def close(self) -> None:
        """Nothing may have been complained of, and nothing but the page itself been asked for."""
        self.context.close()
        assert self.complaints == []
        assert {request.partition("#")[0] for request in self.requests} == {self.url}


def wait_for_charts(seen: Visit) -> int:
    """Wait until every chart is drawn; returns how many there are."""
    everything = "[...document.querySelectorAll('.chart')].every(chart => chart.dataset.drawn)"
    seen.until(everything)
    return seen.page.locator(".chart").count()


def open_task(seen: Visit, name: str) -> None:
    """Find a proposal by its id and open it."""
    seen.page.fill("#search", "")
    seen.until("document.querySelectorAll('#browse .row').length > 1")  # else the row of an earlier search is clicked
    seen.page.fill("#search", name)
    seen.until("document.querySelectorAll('#browse .row').length === 1")
    seen.page.click("#browse .row")
    seen.page.wait_for_selector(f'#detail[data-open="{name}"]')
