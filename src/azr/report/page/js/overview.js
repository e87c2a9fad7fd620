// The head of the page: what was gained, against what, and what went wrong.

function overview() {
  const runs = DATA.runs;
  const names = runs.length ? runs.map((run) => run.name) : DATA.evals.map((found) => found.name);
  const title = el("div", { class: "title" }, el("p", { class: "eyebrow" }, runs.length ? "Self-play" : "Evaluation"), el("h1", {}, runs.length > 1 ? `${runs.length} runs side by side` : names.join(", ")), runs.length === 1 ? aboutRun(runs[0]) : null);
  return el("section", { id: "overview", style: { "margin-top": "0" } }, title, runs.length > 1 ? versus(runs) : runs.length ? keyNumbers(runs[0]) : null, runs.map(alarmBox));
}

function aboutRun(run) {
  return el("dl", { class: "facts" }, Object.entries({ ...run.about, state: state(run) }).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function state(run) {
  const of = run.planned ? `${count(run.done)} of ${count(run.planned)} steps` : `${count(run.done)} steps`;
  return run.finished ? `${of}, finished` : `${of}, going on or stopped`;
}

/** Sums over all complete steps. */
function totals(run) {
  const of = (name) => sum(Object.values(run.curves.kinds).map((columns) => sum(columns[name])));
  const rates = Object.values(run.curves.kinds).map((columns) => columns.solve_rate.filter(isNumber));
  const late = rates.map((column) => column.slice(-5)).flat();
  return { proposals: of("proposals"), accepted: of("accepted"), solving: late.length ? sum(late) / late.length : null, seconds: sum(run.curves.seconds.step) };
}

function keyNumbers(run) {
  const total = totals(run);
  const [first, last] = [run.held_out[0], run.held_out.at(-1)];
  const items = [];
  if (first) {
    const now = run.held_out.length > 1 ? [percent(first.mean.accuracy), el("span", { class: "arrow" }, " → "), percent(last.mean.accuracy)] : [percent(first.mean.accuracy)];
    items.push(["Held-out accuracy", now, [gainWords(run), isNumber(run.guess) ? `, random guess ${percent(run.guess, 1)}` : ""].join("")]);
  }
  items.push(["New tasks", [count(total.accepted)], `of ${count(total.proposals)} proposals, ${percent(total.proposals ? total.accepted / total.proposals : null)} valid`]);
  items.push(["Solve rate", [percent(total.solving)], "of attempts in the last five steps"]);
  items.push(["Steps", [count(run.done)], total.seconds ? `${duration(total.seconds)}, ${decimal(total.seconds / Math.max(1, run.done), 1)} s per step` : "times are not known"]);
  return el("dl", { class: "numbers" }, items.map(([name, big, note]) => el("div", {}, el("dt", {}, name), el("dd", { class: "big" }, big), el("dd", { class: "faint" }, note))));
}

function gainWords(run) {
  const gain = run.held_out.at(-1)?.gain;
  return gain ? `${points(gain.accuracy)} points (95 % ${points(gain.interval[0])} to ${points(gain.interval[1])})` : "the untrained model";
}

function duration(seconds) {
  const minutes = Math.round(seconds / 60);
  return minutes < 1 ? `${Math.round(seconds)} s` : minutes < 90 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`;
}

/** Runs in columns; the settings in which they differ come last. */
function versus(runs) {
  const all = runs.map(totals);
  const line = (name, value) => [name, ...runs.map((run, at) => value(run, all[at]))];
  const settings = unique(runs.flatMap((run) => Object.keys(run.about)));
  const differ = settings.filter((name) => unique(runs.map((run) => run.about[name])).length > 1);
  const rows = [
    line("steps", state),
    line("held-out accuracy, untrained", (run) => percent(run.held_out[0]?.mean.accuracy, 1)),
    line("held-out accuracy, last", (run) => percent(run.held_out.at(-1)?.mean.accuracy, 1)),
    line("gain in points (95 % interval)", (run) => (run.held_out.length > 1 ? gainWords(run).replace(" points", "") : "–")),
    line("random guess", (run) => percent(run.guess, 1)),
    line("new tasks", (run, total) => count(total.accepted)),
    line("valid proposals", (run, total) => percent(total.proposals ? total.accepted / total.proposals : null)),
    line("solve rate, last five steps", (run, total) => percent(total.solving)),
    line("time of training", (run, total) => (total.seconds ? duration(total.seconds) : "–")),
    ...differ.map((name) => line(name, (run) => run.about[name] ?? "–")),
  ];
  return table(["", ...runs.map((run) => run.name)], rows, { class: "versus" });
}

function alarmBox(run) {
  const whose = DATA.runs.length > 1 ? `${run.name}: ` : "";
  if (!run.alarms.length) return el("p", { class: "callout calm" }, `${whose}No sign of collapse: ${run.done < 5 ? "too few steps to tell" : "every check over five steps is on the good side of its threshold"}.`);
  return el("div", { class: "callout", role: "status" }, el("b", {}, `${whose}Watch out`), el("ul", {}, run.alarms.map((alarm) => el("li", {}, alarm.text, alarm.until === null ? "" : " (over)"))));
}
