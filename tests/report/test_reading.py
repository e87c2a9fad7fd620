"""The page as a reader meets it in a real browser: nothing overlaps or is cut, and tasks have addresses."""

from __future__ import annotations

import json

import pytest

from azr.report.build import report
from tests.report.browser import Visit, open_task, wait_for_charts
from tests.report.by_hand import Recount, row_of
from tests.report.logs import write_run

pytestmark = pytest.mark.browser

BOX = "node => node.getBoundingClientRect().toJSON()"


@pytest.mark.parametrize("width", [390, 1280])
def test_no_legend_touches_the_title_of_an_axis(visit, page, width):
    seen = visit(page, width=width)
    wait_for_charts(seen)
    measured = """charts => charts.map(chart => {
        const box = (selector) => chart.querySelector(selector)?.getBoundingClientRect();
        const legend = box("svg .role-legend");
        const titles = [...chart.querySelectorAll("svg .role-axis-title text")].map(t => t.getBoundingClientRect().top);
        return legend ? [chart.dataset.chart, Math.min(...titles) - legend.bottom] : null;
    }).filter(Boolean)"""
    gaps = dict(seen.page.eval_on_selector_all("#curves .chart", measured))
    assert len(gaps) > 10
    assert {name: gap for name, gap in gaps.items() if gap < 4} == {}


@pytest.mark.parametrize("width", [320, 390])
def test_every_entry_of_the_navigation_is_within_a_narrow_window(visit, page, width):
    seen = visit(page, width=width, height=800)
    boxes = seen.page.eval_on_selector_all("#nav a", f"links => links.map({BOX})")
    assert len(boxes) == 4
    assert all(box["left"] >= 0 and box["right"] <= width for box in boxes)
    frame = seen.page.eval_on_selector("#nav", BOX)
    assert all(frame["top"] <= box["top"] and box["bottom"] <= frame["bottom"] for box in boxes)


def test_a_figure_of_nothing_but_zeros_says_so_instead_of_drawing_a_line(browser, tmp_path):
    run = write_run(tmp_path / "still", steps=3)
    records = [json.loads(text) for text in (run / "events.jsonl").read_text().splitlines()]
    for record in records:
        if record["event"] == "update":
            record["clip_share"] = 0.0
    (run / "events.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    seen = Visit(browser, report([run]))
    wait_for_charts(seen)
    assert seen.page.locator("#figure-clip-share .chart").count() == 0
    assert seen.text("#figure-clip-share .still").startswith("0.0 % at each of the 3 steps.")
    assert [value for *_, value in seen.numbers("clip-share")] == ["0.0 %"] * 3
    assert seen.page.locator("#figure-entropy .chart").count() == 1
    seen.close()


def test_a_list_shows_the_first_lines_of_a_program_as_they_were_written(visit, page, run):
    seen, name = visit(page), row_of(run)
    program = Recount(run).born[name]["task"]["data"]["program"].strip().splitlines()
    assert len(program) > 1
    seen.page.fill("#search", name)
    seen.until("document.querySelectorAll('#browse .row').length === 1")
    seen.until("document.querySelector('#browse .preview').textContent !== ''")
    shown = seen.text("#browse .preview").splitlines()
    assert shown[:3] == program[:3]
    assert seen.page.eval_on_selector("#browse .preview", "node => getComputedStyle(node).whiteSpace") == "pre"


def test_the_address_of_an_open_task_opens_it_again(visit, page, run):
    seen, name = visit(page), row_of(run)
    open_task(seen, name)
    assert seen.page.url == f"{page.as_uri()}#task=one@{name}"
    assert seen.page.get_attribute("#detail .actions a", "href") == f"#task=one@{name}"
    seen.page.reload()
    seen.page.wait_for_selector(f'#detail[data-open="{name}"]')
    wait_for_charts(seen)
    box = seen.page.eval_on_selector("#detail", BOX)
    assert box["top"] < 900
    assert box["bottom"] > 0


def test_back_returns_to_the_task_before(visit, page, run):
    seen, names = visit(page), [row_of(run), row_of(run, accepted=False)]
    for name in names:
        open_task(seen, name)
    seen.page.go_back()
    seen.page.wait_for_selector(f'#detail[data-open="{names[0]}"]')
    seen.page.go_back()
    seen.until("document.querySelector('#detail').childElementCount === 0")


def test_a_link_names_its_run_among_several(visit, pair):
    seen = visit(pair)
    seen.page.select_option("#run", "1")
    seen.until("document.querySelector('#run').value === '1'")
    seen.page.wait_for_selector("#browse .row")
    seen.page.click("#browse .row")
    seen.page.wait_for_selector("#detail[data-open]")
    name = seen.page.get_attribute("#detail", "data-open")
    assert seen.page.url.endswith(f"#task=two@{name}")
    seen.page.reload()
    seen.page.wait_for_selector(f'#detail[data-open="{name}"]')
    assert seen.page.input_value("#run") == "1"


def test_a_link_to_a_task_that_is_not_on_the_page_says_so(browser, page):
    context = browser.new_context()
    seen = context.new_page()
    seen.goto(f"{page.as_uri()}#task=one@99/propose/deduction/0000")
    seen.wait_for_selector("#detail:has-text('one@99/propose/deduction/0000 is not on this page')")
    context.close()


def test_escape_closes_a_task_and_returns_to_its_row(visit, page, run):
    seen, name = visit(page), row_of(run)
    open_task(seen, name)
    seen.page.keyboard.press("Escape")
    seen.until("document.querySelector('#detail').childElementCount === 0")
    assert seen.page.evaluate("document.activeElement.classList.contains('row')")
    assert seen.page.url == page.as_uri()
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_selector(f'#detail[data-open="{name}"]')
    seen.page.click("#detail .actions button")
    seen.until("document.querySelector('#detail').childElementCount === 0")


def test_escape_closes_a_problem_of_a_benchmark(visit, page):
    seen = visit(page)
    seen.page.locator("#benchmarks .row", has_text="sums/2").click()
    seen.page.wait_for_selector("#benchmarks .detail pre")
    seen.page.keyboard.press("Escape")
    seen.until("document.querySelector('#benchmarks .detail').childElementCount === 0")
    assert "sums/2" in seen.page.evaluate("document.activeElement.textContent")
