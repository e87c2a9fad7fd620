"""The page in a real browser: it draws, it is worked by mouse and by keyboard, and it runs nothing that was written."""

from __future__ import annotations

import json

import pytest

from azr.report.build import report
from azr.watch.server import LivePage, LiveServer
from tests.report.browser import PATIENCE_MS, open_task, wait_for_charts
from tests.report.by_hand import Recount, quartiles, row_of
from tests.report.logs import KINDS, line, write_run

pytestmark = pytest.mark.browser

# Charts


def test_every_chart_draws_marks_within_its_frame(visit, page):
    seen = visit(page)
    assert wait_for_charts(seen) == 22
    shapes = "charts => charts.map(c => c.querySelectorAll('svg [role=graphics-symbol] path, svg .mark-symbol path, svg .mark-rect path, svg .mark-area path, canvas').length)"
    assert all(count > 0 for count in seen.page.eval_on_selector_all(".chart", shapes))
    boxes = "charts => charts.every(c => c.firstElementChild.getBoundingClientRect().right <= innerWidth)"
    assert seen.page.eval_on_selector_all(".chart", boxes)


def test_a_chart_keeps_its_numbers_in_words_once_it_is_drawn(visit, page, run):
    seen, recount = visit(page), Recount(run)
    wait_for_charts(seen)
    median = quartiles(recount.length(6))[1]
    label = "document.querySelector('#figure-task-length .chart').getAttribute('aria-label')"
    assert f"median {median:g} at step 6" in seen.page.evaluate(label)


def test_every_axis_is_labelled(visit, page):
    seen = visit(page)
    wait_for_charts(seen)
    titles = "charts => charts.filter(c => c.querySelector('svg')).map(c => [...c.querySelectorAll('.role-axis-title text')].map(t => t.textContent))"
    for found in seen.page.eval_on_selector_all("#curves .chart, .rise .chart", titles):
        assert "step" in found
        assert len(found) == 2


def test_what_was_proposed_stands_beside_what_was_learnt_by_length(visit, page):
    seen = visit(page)
    wait_for_charts(seen)
    boxes = "found => found.map(figure => figure.getBoundingClientRect().toJSON())"
    length, accuracy, depth = seen.page.eval_on_selector_all("#curriculum .rise figure", boxes)
    assert length["top"] == accuracy["top"] == depth["top"]
    assert length["right"] <= accuracy["left"] < accuracy["right"] <= depth["left"]


def test_a_run_without_lengths_has_no_empty_charts(visit, tmp_path):
    run = write_run(tmp_path, steps=3)
    events = []
    for event in map(json.loads, (run / "events.jsonl").read_text().splitlines()):
        event.pop("length", None)
        if event["event"] == "task":
            del event["task"]["depth"]
        events.append(line(event))
    (run / "events.jsonl").write_text("".join(events))
    seen = visit(report([run]))
    wait_for_charts(seen)
    assert seen.page.locator(".rise").count() == 0
    assert seen.page.locator("#figure-valid .chart").count() == 1


def test_charts_follow_the_dark_theme_and_the_button(visit, page):
    seen = visit(page, dark=True)
    wait_for_charts(seen)
    background = "getComputedStyle(document.body).backgroundColor"
    assert seen.page.evaluate(background) == "rgb(20, 20, 19)"
    label = "getComputedStyle(document.querySelector('#figure-valid .role-axis-label text')).fill"
    before = seen.page.evaluate(label)
    seen.page.click("#theme")  # light
    seen.until(f"{label} !== '{before}'")
    assert seen.page.evaluate(background) == "rgb(251, 250, 248)"


@pytest.mark.parametrize("width", [360, 390, 820, 1360])
def test_no_window_is_too_narrow(visit, page, width):
    seen = visit(page, width=width, height=800)
    wait_for_charts(seen)
    seen.page.click("#browse .row")
    seen.page.wait_for_selector("#detail[data-open]")
    assert seen.page.evaluate("document.documentElement.scrollWidth") == width


# Figures


def by_kind(run, measure):
    recount = Recount(run)
    return {(step, kind): measure(recount, step, kind) for step in recount.steps for kind in KINDS}


def by_role(run, measure):
    recount = Recount(run)
    return {(step, role): measure(recount, step, role) for step in recount.steps for role in ("propose", "solve")}


def of_update(name):
    def measure(run):
        recount = Recount(run)
        return {(step, "one"): recount.update(name, step) for step in recount.steps}

    return measure


def collapse(run):
    recount, found = Recount(run), {}
    for step in recount.steps:
        found |= {(step, form): recount.trivial(form, step) for form in ("constant", "identity")}
        found[step, "known shapes"] = recount.known_shapes(step)
        found[step, "repeated shapes"] = recount.repeated_shapes(step)
        found[step, "no advantage"] = recount.flat(step)
    return found


def learnability(run):
    recount = Recount(run)
    names = ("none solved", "all solved", "0 to 0.25", "0.25 to 0.5", "0.5 to 0.75", "0.75 to 1")
    found = {}
    for step in recount.steps:
        rows = recount.bands(step)
        found |= {(step, name): count / sum(rows) for name, count in zip(names, rows, strict=True)}
    return found


def held_out(run):
    recount, found = Recount(run), {}
    for step in (0, 2, 4, 6):
        found[step, "mean of kinds"] = recount.accuracy(step)
        found |= {(step, kind): sum(marks) / len(marks) for kind, marks in recount.marks(step).items()}
    return found


def time_shares(run):
    recount, found = Recount(run), {}
    for step in recount.steps:
        seconds = recount.seconds(step)
        stages = {stage: seconds[stage] for stage in ("propose", "validate", "solve", "verify", "learn")}
        found |= {(step, stage): of / sum(stages.values()) for stage, of in stages.items()}
    return found


def of_new_tasks(measure):
    def measured(run):
        recount, found = Recount(run), {}
        for step in recount.steps:
            if values := quartiles(measure(recount, step)):
                names = ("lower quartile", "median", "upper quartile")
                found |= {(step, name): value for name, value in zip(names, values, strict=True)}
        return found

    return measured


def held_out_by_length(run):
    recount = Recount(run)
    return {
        (step, f"length {length}"): sum(marks) / len(marks)
        for step in (0, 2, 4, 6)
        for length, marks in recount.marks_by_length(step).items()
    }


FIGURES = {
    "task-length": of_new_tasks(Recount.length),
    "held-out-lengths": held_out_by_length,
    "task-depth": of_new_tasks(Recount.depth),
    "held-out": held_out,
    "valid": lambda run: by_kind(run, Recount.valid),
    "solve-rate": lambda run: by_kind(run, Recount.solve_rate),
    "learnability": learnability,
    "mean-learnability": lambda run: by_kind(run, Recount.mean_learnability),
    "novelty": lambda run: by_kind(run, lambda r, step, kind: r.intrinsic("novelty", step, kind)),
    "complexity": lambda run: by_kind(run, lambda r, step, kind: r.intrinsic("complexity", step, kind)),
    "diversity": lambda run: by_kind(run, lambda r, step, kind: r.intrinsic("diversity", step, kind)),
    "collapse": collapse,
    "reward": lambda run: by_role(run, Recount.mean_reward),
    "lengths": lambda run: by_role(run, Recount.tokens),
    "unfinished": lambda run: by_role(run, Recount.unfinished),
    "entropy": of_update("entropy"),
    "clip-share": of_update("clip_share"),
    "mismatch-kl": of_update("mismatch_kl"),
    "grad-norm": of_update("grad_norm"),
    "time-shares": time_shares,
    "seconds": lambda run: {(step, "one"): Recount(run).seconds(step)["step"] for step in Recount(run).steps},
}


def test_the_numbers_behind_every_figure_are_those_of_the_events(visit, page, run):
    seen = visit(page)
    figures = seen.page.eval_on_selector_all("figure[id]", "found => found.map(f => f.id.replace('figure-', ''))")
    assert sorted(figures) == sorted(FIGURES)
    for figure, measure in FIGURES.items():
        expected = {key: value for key, value in measure(run).items() if value is not None}
        shown = {(int(step), series): value for step, series, value in seen.numbers(figure)}
        assert shown.keys() == expected.keys(), figure
        for key, text in shown.items():
            number = float(text.removesuffix(" %")) / (100 if text.endswith("%") else 1)
            close = 0.00051 if text.endswith("%") else 1e-3 * abs(expected[key]) + 1e-12
            assert abs(number - expected[key]) <= close, (figure, key, text)


def test_the_key_numbers_are_those_of_the_events(visit, page, run):
    seen, recount = visit(page), Recount(run)
    shown = seen.text(".numbers")
    accepted = len([e for e in recount.events if e["event"] == "task" and e["step"] > 0])
    proposed = len([e for e in recount.events if e["event"] == "proposal" and e["step"] > 0])
    assert f"{100 * recount.accuracy(0):.0f} % → {100 * recount.accuracy(6):.0f} %" in shown
    assert f"New tasks{accepted}of {proposed} proposals, {100 * accepted / proposed:.0f} % valid" in shown
    assert "random guess 6.3 %" in shown


# The curriculum


def test_a_click_opens_a_task_with_its_program_attempts_rewards_and_parents(visit, page, run):
    seen, recount, name = visit(page), Recount(run), row_of(run)
    open_task(seen, name)
    shown = seen.text("#detail")
    assert recount.born[name]["task"]["data"]["program"].strip() in shown
    own = recount.own(name)
    attempts = seen.page.locator("#detail .attempt")
    texts = {event["id"]: event["text"] for event in recount.events if event["event"] == "attempt"}
    for number, attempt in enumerate(own):
        found = attempts.nth(number).text_content()
        assert texts[attempt] in found
        assert recount.verdict[attempt]["reason"].replace("_", " ") in found
        assert f"reward {recount.reward[attempt]:+.2f}".replace("-", "\u2212") in found
    parents = recount.born[name]["task"]["parents"]
    assert seen.page.locator("#detail h4:text-is('Parents') + .kin > *").count() == len(parents)


def test_the_descent_of_a_task_is_drawn(visit, page, run):
    seen, recount, name = visit(page), Recount(run), row_of(run)
    open_task(seen, name)
    seen.page.wait_for_selector("#detail .chart[data-drawn] svg .mark-symbol path")
    known = {event["task"]["id"] for event in recount.born.values()}
    relatives = [parent for parent in recount.born[name]["task"]["parents"] if parent in known]
    boxes = "found => found.map(circle => circle.getBoundingClientRect().toJSON())"
    circles = seen.page.eval_on_selector_all("#detail .chart svg .mark-symbol path", boxes)
    frame = seen.page.eval_on_selector("#detail", "detail => detail.getBoundingClientRect().toJSON()")
    assert len(circles) >= 1 + len(relatives) >= 2
    assert len({(circle["x"], circle["y"]) for circle in circles}) == len(circles)
    assert all(frame["left"] < circle["left"] and circle["right"] < frame["right"] for circle in circles)


def test_a_parent_opens_by_its_button(visit, page, run):
    seen, recount, name = visit(page), Recount(run), row_of(run)
    open_task(seen, name)
    born = {event["task"]["id"]: proposal for proposal, event in recount.born.items()}
    parent = next(born[task] for task in recount.born[name]["task"]["parents"] if task in born)
    seen.page.locator("#detail h4:text-is('Parents') + .kin button").first.press("Enter")
    seen.page.wait_for_selector(f'#detail[data-open="{parent}"]')


def test_the_keyboard_alone_opens_a_task_and_its_ledger(visit, page):
    seen = visit(page)
    seen.page.focus("#search")
    while seen.page.evaluate("!document.activeElement.classList.contains('row')"):
        seen.page.keyboard.press("Tab")
    first = seen.page.evaluate("document.activeElement.dataset.row")
    seen.page.keyboard.press("ArrowDown")
    assert seen.page.evaluate("document.activeElement.dataset.row") != first
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_selector("#detail[data-open]")
    assert seen.page.evaluate("document.activeElement.id") == "detail"
    while seen.page.evaluate("!document.activeElement.textContent.startsWith('Ledger')"):
        seen.page.keyboard.press("Tab")
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_selector("#detail .ledger table")


def test_the_ledger_holds_what_azr_explain_prints(visit, page, run):
    from azr.analysis.ledger import ledger
    from azr.report.explain import rows

    seen, name = visit(page), row_of(run, accepted=False)
    open_task(seen, name)
    seen.page.locator("#detail button", has_text="Ledger").first.click()
    seen.page.wait_for_selector("#detail .ledger tbody tr")
    cells = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    found = seen.page.eval_on_selector_all("#detail .ledger .scroll:first-of-type tbody tr", cells)
    expected = [list(row) for row in rows(ledger(run, name))]
    assert found[: len(expected)] == expected


def test_filters_and_search_leave_what_matches(visit, page, run):
    seen, recount = visit(page), Recount(run)
    proposals = [event for event in recount.events if event["event"] == "proposal"]
    seen.page.select_option("#kind", "abduction")
    seen.page.select_option("#reason", "syntax")
    seen.page.fill("#from", "2")
    seen.page.fill("#to", "5")
    seen.page.press("#to", "Enter")
    wanted = [
        event
        for event in proposals
        if event["kind"] == "abduction"
        and 2 <= event["step"] <= 5
        and recount.verdict[event["id"]]["reason"] == "syntax"
    ]
    assert wanted
    seen.until(f"document.querySelector('.count').textContent === '{len(wanted)} of {len(proposals)} proposals'")
    assert seen.page.locator("#browse .row").count() == len(wanted)
    seen.page.fill("#search", "nothing has this in it")
    seen.until("document.querySelectorAll('#browse .row').length === 0")


def test_the_tree_is_walked_by_arrow_keys(visit, page):
    seen = visit(page)
    seen.page.click("#view")
    seen.page.wait_for_selector("[role=tree] [role=treeitem]")
    seen.page.focus("[role=treeitem][tabindex='0']")
    assert seen.text("[role=treeitem][tabindex='0'] > .node").find("seed") >= 0
    seen.page.keyboard.press("ArrowDown")
    focused = "document.activeElement.getAttribute('aria-level')"
    assert seen.page.evaluate(focused) == "2"
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_selector("#detail[data-open]")
    seen.page.focus("[role=treeitem][tabindex='0']")
    seen.page.keyboard.press("ArrowLeft")
    seen.page.keyboard.press("Home")
    assert seen.page.evaluate(focused) == "1"


# Safety


def test_markup_in_a_program_is_shown_and_not_run(visit, page, run):
    seen, name = visit(page), row_of(run)
    open_task(seen, name)
    assert '</script><script>document.title = "owned"</script><img src=x' in seen.text("#detail")
    seen.page.hover("#browse .row")
    assert seen.page.title() == "one · azr report"
    assert seen.page.locator("#main img, #main script").count() == 0


# More than one


def test_two_runs_stand_side_by_side(visit, pair):
    seen = visit(pair)
    wait_for_charts(seen)
    assert "2 runs side by side" in seen.text("h1")
    rows = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    table = {name: values for name, *values in seen.page.eval_on_selector_all(".versus tbody tr", rows)}
    assert table["steps"] == ["6 of 6 steps, finished", "4 of 9 steps, going on or stopped"]
    left, right = seen.page.eval_on_selector_all(
        "#figure-valid .panel", "found => found.map(p => p.getBoundingClientRect().toJSON())"
    )
    assert left["top"] == right["top"]
    assert left["right"] <= right["left"]
    assert seen.page.locator("#figure-entropy .panel").count() == 1  # both lines in one frame


def test_the_other_run_is_browsed_too(visit, pair):
    seen = visit(pair)
    before = seen.text("#browse .count")
    seen.page.select_option("#run", "1")
    seen.until(f"document.querySelector('#browse .count').textContent !== {json.dumps(before)}")


def test_a_live_page_keeps_what_the_reader_asked_for(browser, tmp_path):
    run = write_run(tmp_path, steps=6)
    log = (run / "events.jsonl").read_text().splitlines(keepends=True)
    begin = next(at for at, text in enumerate(log) if json.loads(text)["step"] == 5)
    (run / "events.jsonl").write_text("".join(log[:begin]))
    with LiveServer(LivePage(run), 0) as server:
        page = browser.new_context().new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(server.address)
        page.wait_for_selector("text=4 of 6 steps")
        page.select_option("#kind", "abduction")
        page.locator("#browse .row .kind", has_text="abduction").first.click()
        name = page.get_attribute("#detail[data-open]", "data-open")
        page.focus("#search")
        with (run / "events.jsonl").open("a") as file:
            file.writelines(log[begin:])
        page.wait_for_selector("text=6 of 6 steps")
        page.wait_for_selector(f'#detail[data-open="{name}"]')
        assert page.input_value("#kind") == "abduction"
        assert set(page.locator("#browse .row .kind").all_text_contents()) == {"abduction"}
        page.wait_for_selector("#search:focus")
        page.context.close()


def test_completions_of_a_benchmark_are_browsed(visit, page):
    seen = visit(page)
    assert "50.0 %" in seen.text("#benchmarks table")
    seen.page.locator("#benchmarks .row", has_text="sums/2").click()
    detail = "#benchmarks .detail"
    seen.until(f"document.querySelector('{detail}').textContent.includes('2 + 2 =')")
    shown = seen.text(detail)
    assert "base 2 0" in shown
    assert "trained 2 1" in shown
    assert "got 3" in shown
