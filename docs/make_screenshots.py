"""Takes the screenshots of report and watch in docs/images: `python docs/make_screenshots.py RUN`.

RUN is the folder of a finished run of the preset demo. Needs Chromium and Playwright: `.ci/browser`.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from azr.report.build import report
from azr.watch.server import LivePage, LiveServer

IMAGES = Path(__file__).with_name("images")
WIDTHS = {390: 844, 1280: 960}
"""Height of the window for each width."""
SCHEMES = ("light", "dark")


def main(run: Path) -> None:
    """Write images/report-WIDTH-SCHEME.png and images/watch-WIDTH-SCHEME.png."""
    with browser() as chromium, tempfile.TemporaryDirectory() as folder:
        page = report([run], Path(folder) / "report.html")
        for width, height in WIDTHS.items():
            for scheme in SCHEMES:
                with window(chromium, page.as_uri(), width, height, scheme) as seen:
                    store(seen, f"report-{width}-{scheme}")
        with LiveServer(LivePage(half_of(run, Path(folder) / run.name)), 0) as server:
            for width, height in WIDTHS.items():
                for scheme in SCHEMES:
                    with window(chromium, server.address, width, height, scheme) as seen:
                        open_a_task(seen)
                        store(seen, f"watch-{width}-{scheme}")


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    program = shutil.which("chromium")
    if program is None:
        sys.exit("no chromium; .ci/browser installs it")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@contextmanager
def window(chromium: Browser, address: str, width: int, height: int, scheme: str) -> Iterator[Page]:
    """A page whose charts are all drawn."""
    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.set_default_timeout(90_000)
    page.goto(address)
    page.wait_for_selector("body[data-ready]", state="attached")
    while not page.evaluate("[...document.querySelectorAll('.chart')].every(chart => chart.dataset.drawn)"):
        page.wait_for_timeout(100)
    yield page
    context.close()


def half_of(run: Path, target: Path) -> Path:
    """A copy of a run as it was in the middle of its steps."""
    target.mkdir()
    for name in ("config.toml", "seed.jsonl"):
        shutil.copy(run / name, target)
    for name in ("events.jsonl", "metrics.jsonl"):
        lines = (run / name).read_text(encoding="utf-8").splitlines(keepends=True)
        middle = json.loads(lines[-1])["step"] * 2 // 3
        kept = [line for line in lines if json.loads(line)["step"] <= middle]
        (target / name).write_text("".join(kept), encoding="utf-8")
    return target


def open_a_task(page: Page) -> None:
    """Open the newest task that was attempted, and show it."""
    page.locator("#browse .row", has=page.locator(".rate")).first.click()
    page.wait_for_selector("#detail[data-open]")
    page.evaluate("document.getElementById('detail').scrollIntoView()")
    page.wait_for_timeout(1500)  # the descent is drawn when the task is on the page


def store(page: Page, name: str) -> None:
    """Store what the window shows."""
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
