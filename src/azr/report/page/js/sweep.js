// The page of a sweep: settings compared over seeds.

function sweepSections(sweep) {
  const about = Object.entries({ ...sweep.about, settings: count(unique(sweep.runs.map((run) => run.setting)).length) });
  const facts = el("dl", { class: "facts" }, about.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  const title = el("div", { class: "title" }, el("p", { class: "eyebrow" }, "Sweep"), el("h1", {}, sweep.name), facts);
  const head = el("section", { id: "overview", style: { "margin-top": "0" } }, title, settingsTable(sweep));
  const figures = el("div", { class: "figures" }, sweep.figures.map((one) => figure(seedsFigure(sweep, one))));
  const parts = [head];
  if (sweep.figures.length) parts.push(section("curves", "Curves", "A line for each setting, over its finished runs.", figures));
  return [...parts, section("runs", "Runs", "Every run of the sweep, and its folder within the sweep's.", runsTable(sweep))];
}

const estimate = (found) => (found ? [el("div", {}, points(found.mean)), el("div", { class: "faint" }, found.interval ? `${points(found.interval[0])} to ${points(found.interval[1])}` : "one run")] : "–");

/** Means over runs in points, with the interval over seeds below; differences are paired by seed. */
function settingsTable({ table: rows }) {
  if (!rows.length) return el("p", { class: "callout" }, "No run has finished yet.");
  const kindNames = Object.keys(rows[0].kinds);
  const headings = ["setting", ">runs", ">untrained", ">trained", ...kindNames.map((kind) => `>${kind}`), ">gain in points", `>against ${rows[0].setting}`];
  const cells = rows.map((row) => [row.setting, count(row.runs), percent(row.before, 1), percent(row.after.mean, 1), ...kindNames.map((kind) => percent(row.kinds[kind], 1)), estimate(row.gain), estimate(row.difference)]);
  const note = "Held-out accuracy: means over runs, with 95 % intervals over seeds (Student's t) below them. The last column pairs the gains of runs with the same seed.";
  return [table(headings, cells, { class: "versus", id: "settings" }), el("p", { class: "faint" }, note)];
}

function seedsFigure(sweep, { id, title, note, rows }) {
  const order = unique(rows.map((row) => row.series));
  const values = rows.flatMap((row) => [row.low, row.high]);
  const guesses = id === "sweep-held-out" && isNumber(sweep.guess) ? [sweep.guess] : [];
  const domain = [Math.min(0, ...values), Math.max(...values, ...guesses)];
  const build = () => bands(rows, { title: "mean over runs", order, range: order.map((_, at) => colour(`s${at % 6}`)), guesses, domain });
  return { id, title, note, wide: id === "sweep-held-out", panels: [[sweep]], rows: () => rows, build, unit: "mean over runs", percent: true };
}

function runsTable({ runs }) {
  const rows = runs.map((run) => [run.setting, String(run.seed), run.state, count(run.steps), isNumber(run.gain) ? points(run.gain) : "–", run.folder ?? "–"]);
  return table(["setting", ">seed", "state", ">steps", ">gain in points", "folder"], rows);
}
