// Which curves are shown, in which groups, and from which columns.

const ROLES = ["propose", "solve"];
const STAGES = ["propose", "validate", "solve", "check", "verify", "learn"];

/** The stages that any run has times of: only a search has checks. */
const timedStages = () => STAGES.filter((stage) => DATA.runs.some((run) => run.curves.seconds[stage]?.some(isNumber)));

/** Rows of a chart from columns of a run: {series: column}. */
const rowsOf = (run, columns) =>
  Object.entries(columns).flatMap(([series, column]) => run.curves.step.map((step, at) => ({ step, series, value: column?.[at] })).filter((row) => isNumber(row.value)));

const ofKinds = (name) => (run) => rowsOf(run, Object.fromEntries(kinds().map((kind) => [kind, run.curves.kinds[kind]?.[name]])));
const ofRoles = (name) => (run) => rowsOf(run, Object.fromEntries(ROLES.map((role) => [role, run.curves.roles[role][name]])));

/** A figure with one panel per run: series by kind, by role or other. `zero` says what it means if all values are 0. */
const byKind = (id, title, note, name, unit, options = {}) => ({ id, title, note, rows: ofKinds(name), series: kinds, range: (names) => names.map((kind) => colour(kindVariable(kind))), unit, options });
const byRole = (id, title, note, name, unit, options = {}, zero = "") => ({ id, title, note, zero, rows: ofRoles(name), series: () => ROLES, unit, options });
/** A figure with one panel and one line per run. */
const byRun = (id, title, note, column, unit, options = {}, zero = "") => ({ id, title, note, zero, together: true, rows: (run) => rowsOf(run, { [run.name]: column(run) }), series: () => DATA.runs.map((run) => run.name), unit, options });

const SHARE = { format: ".0%", domain: [0, 1] };

const QUARTILES = { "lower quartile": "low", median: "median", "upper quartile": "high" };
/** A figure with one panel per run: the median of the new tasks, and their quartiles as a band. */
const ofNewTasks = (id, title, note, name, unit, zero = "") => ({ id, title, note, zero, draws: quartiles, rows: (run) => rowsOf(run, Object.fromEntries(Object.entries(QUARTILES).map(([series, column]) => [series, run.curves[name][column]]))), series: () => Object.keys(QUARTILES), unit });

/** The tasks of the curriculum as they grow, on both sides of what that is for. */
const RISE = [
  ofNewTasks("task-length", "Length of new tasks", "Number of steps that a solver must follow, on the domain's own scale. The line is the median, the band holds the middle half of a step's new tasks.", "length", "length"),
  { id: "held-out-lengths", title: "Held-out accuracy by length", note: "Held-out tasks by their length, on the same scale; each line is the share of them that is solved.", rows: byLength, series: heldOutLengths, unit: "accuracy", options: { ...SHARE, reach: 0 } },
  ofNewTasks("task-depth", "Depth of ancestry", "How many times tasks were built on one another to get a new one; 0 for one that was invented. Median and middle half.", "depth", "depth", "No new task was built on others."),
];

const GROUPS = [
  ["Is it getting better?", [
    { id: "held-out", wide: true, title: "Held-out accuracy", note: "Tasks that training never sees, answered once at temperature 0. The band is the 95 % interval of the mean over kinds; thin lines are the kinds.", build: heldOut, rows: heldOutRows, unit: "accuracy", percent: true },
    byKind("valid", "Valid proposals", "Share of proposals that run, are deterministic and follow the rules.", "valid", "share of proposals", SHARE),
    byKind("solve-rate", "Solve rate in training", "Share of attempts that are right, on the tasks of that step: these change as the proposer does.", "solve_rate", "share of attempts", SHARE),
  ]],
  ["Is it still inventing?", [
    { id: "learnability", wide: true, title: "Learnability of new tasks", note: "What proposals earn (Eq. 4): nothing for tasks that none or all attempts solve, most for those that few solve. A healthy run keeps its mass in the middle rows.", build: learnability, rows: learnabilityRows, unit: "share of new tasks", percent: true },
    byKind("mean-learnability", "Mean learnability", "The proposer's reward before penalties, over the tasks that were attempted.", "learnability", "learnability", { format: ".2f", domain: [0, 1] }),
    byKind("novelty", "Novelty", "1 − likeness to the most similar reference that the prompt showed.", "novelty", "novelty, 0 to 1", { format: ".2f" }),
    byKind("complexity", "Complexity", "On the domain's own scale; about 1 is hard.", "complexity", "complexity", { format: ".2f" }),
    byKind("diversity", "Rarity of answers", "1 − share of the buffer's tasks that have the same answer.", "diversity", "rarity, 0 to 1", { format: ".3~f" }),
    { id: "collapse", title: "Signs of collapse", note: "Degenerate programs by form, shapes that are not new, and rollouts without any advantage.", rows: collapseRows, series: collapseSeries, unit: "share", options: SHARE },
  ]],
  ["Is the update sound?", [
    byRole("reward", "Reward", "Mean over rollouts, penalties included.", "reward", "reward", { format: ".2f" }),
    byRole("lengths", "Length", "Mean length of what was written.", "tokens", "tokens", { format: ".3~s" }),
    byRole("unfinished", "Cut at the token limit", "Share of rollouts that the model did not end itself.", "unfinished", "share of rollouts", { format: ".1%" }, "The model ended every rollout itself."),
    byRun("entropy", "Entropy", "Of the next token, mean over what was written. Near zero the policy no longer explores.", (run) => run.curves.learner.entropy, "nats per token", { format: ".2f" }),
    byRun("clip-share", "Clip share", "Share of tokens whose gradient was cut by the clipped surrogate.", (run) => run.curves.learner.clip_share, "share of tokens", { format: ".2~%" }, "This is normal if each rollout is used for one update only: the ratio is then 1, and there is nothing to clip."),
    byRun("mismatch-kl", "Mismatch KL", "Between the sampler and the learner, which should agree: k3 estimate.", (run) => run.curves.learner.mismatch_kl, "nats per token", { format: ".1e" }, "Sampler and learner agree exactly."),
    byRun("grad-norm", "Gradient norm", "Before it is clipped.", (run) => run.curves.learner.grad_norm, "norm", { format: ".2~f" }),
  ]],
  ["Where does the time go?", [
    { id: "time-shares", title: "Shares of a step's time", note: "Stages overlap; each gets its share of the wall clock.", build: timeShares, rows: timeRows, unit: "share of the step", percent: true },
    byRun("seconds", "Time of a step", "Wall clock, evaluation left out.", (run) => run.curves.seconds.step, "seconds", { format: ".3~s" }),
  ]],
];

function heldOutRows(run) {
  return run.held_out.flatMap((found) => [
    { step: found.step, series: "mean of kinds", value: found.mean.accuracy, low: found.mean.interval[0], high: found.mean.interval[1], band: true },
    ...Object.entries(found.kinds).map(([kind, { accuracy, interval }]) => ({ step: found.step, series: kind, value: accuracy, low: interval[0], high: interval[1], band: false })),
  ]);
}

const lengthName = (length) => `length ${length.replace("-", " to ")}`;
function byLength(run) {
  return run.held_out.flatMap((found) => Object.entries(found.lengths ?? {}).map(([length, { accuracy }]) => ({ step: found.step, series: lengthName(length), value: accuracy })));
}
function heldOutLengths() {
  const lengths = unique(DATA.runs.flatMap((run) => run.held_out.flatMap((found) => Object.keys(found.lengths ?? {}))));
  return lengths.sort((one, other) => parseInt(one) - parseInt(other)).map(lengthName);
}

function heldOut(run, rows) {
  const order = ["mean of kinds", ...kinds()];
  const most = Math.max(...DATA.runs.flatMap(heldOutRows).map((row) => row.high), run.guess ?? 0);
  return bands(rows, { title: "accuracy", order, range: [colour("ink"), ...kinds().map((kind) => colour(kindVariable(kind)))], guesses: isNumber(run.guess) ? [run.guess] : [], domain: [0, Math.min(1, most)] });
}

/** Steps are drawn together where there are more of them than columns that can be told apart. */
function learnabilityRows(run) {
  const { step, bands: histogram, band_names: names } = run.curves;
  const width = Math.max(1, Math.ceil(step.length / 100));
  const rows = [];
  for (let at = 0; at < step.length; at += width) {
    const part = histogram.slice(at, at + width);
    const total = sum(part.flat());
    const upto = step[Math.min(step.length, at + width) - 1];
    names.forEach((series, band) => {
      const tasks = sum(part.map((of) => of[band]));
      rows.push({ step: step[at], from: step[at], to: upto + 1, upto, series, tasks, share: total ? tasks / total : 0, value: total ? tasks / total : 0 });
    });
  }
  return rows;
}

function learnability(run, rows) {
  return heat(rows, { order: ["0.75 to 1", "0.5 to 0.75", "0.25 to 0.5", "0 to 0.25", "all solved", "none solved"] });
}

const collapseColumns = (run) => ({
  ...Object.fromEntries(Object.entries(run.curves.trivial).map(([form, column]) => [words(form), column])),
  "known shapes": run.curves.known_shapes,
  "repeated shapes": run.curves.shapes.map((share) => (isNumber(share) ? 1 - share : null)),
  "no advantage": run.curves.flat,
});
function collapseRows(run) {
  return rowsOf(run, collapseColumns(run));
}
function collapseSeries() {
  return unique(DATA.runs.flatMap((run) => Object.keys(collapseColumns(run))));
}

function timeRows(run) {
  const stages = timedStages();
  return run.curves.step.flatMap((step, at) => {
    const seconds = stages.map((stage) => run.curves.seconds[stage][at] ?? 0);
    const total = sum(seconds);
    return total ? stages.map((series, rank) => ({ step, series, rank, seconds: seconds[rank], value: seconds[rank] / total })) : [];
  });
}
function timeShares(run, rows) {
  return stacked(rows, { title: "share of the step", order: timedStages(), range: timedStages().map((_, at) => colour(`s${at}`)) });
}

/** One figure: caption, a panel for each run (or one for all), and the numbers as a table for whoever cannot see it. */
function figure(described) {
  const panels = described.panels ?? (described.together ? [DATA.runs] : DATA.runs.map((run) => [run]));
  const rows = panels.map((runs) => runs.flatMap(described.rows));
  if (!rows.some((of) => of.length)) return null;
  const shared = sharedDomain(rows.flat(), described.options ?? {});
  const nodes = panels.map((runs, at) => {
    const node = el("div", { class: "chart", role: "img", "aria-label": `${described.title}: ${inWords(rows[at], described)}`, "data-chart": described.id });
    const several = panels.length > 1 ? el("h4", {}, runs[0].name) : null;
    if (!rows[at].length) return el("div", { class: "panel" }, several, el("p", { class: "faint" }, "Nothing was measured."));
    if (isZero(rows[at], described)) return el("div", { class: "panel" }, several, zeroNote(rows[at], described));
    queueMicrotask(() => draw(node, () => (described.build ? described.build(runs[0], rows[at]) : plain(described, rows[at], shared))));
    return el("div", { class: "panel" }, several, node);
  });
  const wide = described.wide || panels.length > 1;
  return el("figure", { id: `figure-${described.id}`, class: wide ? "wide" : null }, el("figcaption", {}, el("h4", {}, described.title), el("p", {}, described.note)), panels.length > 1 ? el("div", { class: "panels" }, nodes) : nodes, numbers(rows.flat(), described));
}

/** Nothing but zeros: a line along the axis would look like a collapse, or like a chart that failed. */
const isZero = (rows, described) => !described.build && rows.every((row) => row.value === 0);

function zeroNote(rows, described) {
  const steps = unique(rows.map((row) => row.step)).length;
  return el("p", { class: "still" }, el("b", {}, shown(described, 0)), steps > 1 ? ` at each of the ${count(steps)} steps. ` : " at the only step. ", described.zero ?? "");
}

function plain(described, rows, domain) {
  const order = described.series();
  const range = described.range?.(order) ?? order.map((_, at) => colour(`s${at % 6}`));
  return (described.draws ?? lines)(rows, { title: described.unit, order, range, ...described.options, domain });
}

/** Panels side by side are drawn to one scale. */
function sharedDomain(rows, options) {
  if (options.domain) return options.domain;
  const values = rows.map((row) => row.value);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const room = Math.abs(least) / 10 || 1;
  return least < most ? [least, most] : least ? [least - room, most + room] : [0, room];
}

const shown = (described, value) => (described.percent || described.options?.format?.endsWith("%") ? percent(value, 1) : String(Number(value.toPrecision(4))));

function inWords(rows, described) {
  const last = unique(rows.map((row) => row.series)).map((series) => rows.filter((row) => row.series === series).at(-1));
  return last.map((row) => `${row.series} ${shown(described, row.value)} at step ${row.step}`).join(", ");
}

/** The numbers behind a figure, written when they are asked for. */
function numbers(rows, described) {
  const details = el("details", { class: "data" }, el("summary", {}, "Numbers"));
  details.addEventListener("toggle", () => {
    if (!details.open || details.children.length > 1) return;
    details.append(table([">step", "", `>${described.unit}`], rows.map((row) => [String(row.step), row.series, shown(described, row.value)])));
  });
  return details;
}

/** The charts of the curriculum; null for runs that were written before it was measured. */
function riseGroup() {
  const figures = RISE.map(figure).filter(Boolean);
  return figures.length ? el("div", { class: "group rise" }, el("h3", {}, "Does it rise?"), el("div", { class: "figures" }, figures)) : null;
}

function curvesSection() {
  const grid = (figures) => el("div", { class: "figures" }, figures.map(figure));
  return section("curves", "Curves", "Dots are steps; where there are many, the line is the mean of neighbouring ones.", GROUPS.map(([title, figures]) => el("div", { class: "group" }, el("h3", {}, title), grid(figures))));
}
