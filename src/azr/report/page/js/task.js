// One proposal: what was written, its task, how attempts at it fared, its relatives.

const MOST_RELATIVES = 14;
/** Relatives in one column of the drawing. */
const WIDEST = 8;

async function showTask(node, found, row, open) {
  const { columns } = found;
  const written = await writtenOf(found, row);
  const task = columns.task[row];
  node.replaceChildren(
    head(found, row, written),
    written?.[2] ? fields(written[2]) : "",
    el("details", { open: !written?.[2] }, el("summary", {}, el("b", {}, "What the model wrote")), written ? el("pre", {}, written[0]) : gone()),
    measures(found, row),
    ledgerButton(found, columns.step[row], nameOf(found, row)),
    kin(found, row, open),
    task ? await history(found, row) : "",
  );
  node.dataset.open = nameOf(found, row);
}

const gone = () => el("p", { class: "faint" }, "Left out, to keep the page small; it is in the run's events.jsonl.");

function head(found, row, written) {
  const { columns } = found;
  const accepted = Boolean(columns.task[row]);
  const verdict = accepted ? el("span", { class: "tag ok" }, columns.admitted[row] ? "accepted" : "accepted, not kept") : null;
  const title = el("h3", {}, `${accepted ? "Task" : "Rejected proposal"} of step ${columns.step[row]}`);
  return el("div", { class: "head" }, el("div", { class: "kin" }, kindMark(kindOf(found, row)), verdict, outcomeTag(found, row)), title, el("p", { class: "faint mono" }, nameOf(found, row)), written?.[1] ? el("p", { class: "soft" }, written[1]) : null);
}

/** A task's data, whatever its domain: text as it stands, all else as JSON. */
function fields(data) {
  return el("div", {}, Object.entries(data).map(([name, value]) => el("div", { class: "field" }, el("span", {}, words(name)), el("pre", {}, typeof value === "string" ? value : Array.isArray(value) && value.every((one) => typeof one === "string") ? value.join("\n") : JSON.stringify(value)))));
}

function measures(found, row) {
  const { columns } = found;
  const items = [["reward", signed(columns.reward[row])], ["advantage", signed(columns.advantage[row])], ["novelty", decimal(columns.novelty[row])], ["complexity", decimal(columns.complexity[row])], ["rarity", decimal(columns.diversity[row])], ["length", `${columns.tokens[row]} tokens`]];
  return el("dl", { class: "facts" }, items.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", { class: "num" }, value))));
}

/** Parents and offspring as buttons, and the whole descent as a drawing. */
function kin(found, row, open) {
  const { columns, byTask } = found;
  const task = columns.task[row];
  const before = task && byTask.get(task) !== row ? byTask.get(task) : null;
  const known = (columns.parents[row] ?? []).map((parent) => [parent, byTask.get(parent)]);
  const parents = known.map(([parent, at]) => (at === undefined ? seedTag(found, parent) : kinButton(found, at, open)));
  const offspring = offspringOf(found, row);
  const accepted = offspring.filter((at) => columns.task[at]);
  const more = accepted.length > MOST_RELATIVES ? el("span", { class: "faint" }, `and ${accepted.length - MOST_RELATIVES} more`) : null;
  const lost = offspring.length - accepted.length;
  const drawing = el("div", { class: "chart", style: { "min-height": "0" }, role: "img", "data-chart": "kinship", "aria-label": "Ancestors and offspring by generation; the buttons hold the nearest" });
  const { nodes, edges } = relatives(found, row);
  if (nodes.length > 1) queueMicrotask(() => draw(drawing, () => kinship(nodes, edges, { order: kinds(), range: kinds().map((kind) => colour(kindVariable(kind))) }), { onClick: (datum) => datum.row >= 0 && open(datum.row) }));
  return el("div", {},
    before === null ? null : el("div", { class: "kin", style: { "margin-bottom": ".8rem" } }, el("span", { class: "soft" }, "The same task was there before:"), kinButton(found, before, open)),
    el("h4", {}, task ? "Parents" : "Shown to the model as references"), el("div", { class: "kin" }, parents.length ? parents : el("span", { class: "faint" }, "none")),
    task && before === null ? el("h4", { style: { "margin-top": ".8rem" } }, `Offspring${lost ? `, and ${lost} rejected proposals that saw it` : ""}`) : null,
    task && before === null ? el("div", { class: "kin" }, accepted.length ? accepted.slice(0, MOST_RELATIVES).map((at) => kinButton(found, at, open)) : el("span", { class: "faint" }, "none"), more) : null,
    nodes.length > 1 ? drawing : null);
}

const kinButton = (found, row, open) => el("button", { type: "button", onclick: () => open(row) }, kindMark(`${kindOf(found, row)}`), ` step ${found.columns.step[row]}`);

/** A seed that no event tells of; its data come from the file of seeds. */
function seedTag(found, task) {
  const given = found.family.given[task];
  if (!given) return el("span", { class: "tag" }, `seed ${task}`);
  const summary = el("summary", {}, el("span", { class: "tag" }, `seed, ${given.kind}`));
  return el("details", {}, summary, fields(given.data));
}

/** Up to five generations of ancestors and two of offspring, each generation a column. */
function relatives(found, row) {
  const { columns, byTask } = found;
  const depth = new Map([[row, 0]]);
  const edges = [];
  const walk = (generations, direction, neighbours) => {
    let now = [row];
    for (let level = 1; level <= generations && now.length; level++) {
      const next = [];
      for (const from of now) {
        for (const to of neighbours(from)) {
          if (!depth.has(to) && next.length < WIDEST) { depth.set(to, direction * level); next.push(to); }
          if (depth.has(to)) edges.push([from, to]);
        }
      }
      now = next;
    }
  };
  walk(5, -1, (from) => columns.parents[from].filter((parent) => byTask.has(parent)).map((parent) => byTask.get(parent)));
  walk(2, 1, (from) => offspringOf(found, from).filter((child) => columns.task[child]));
  const place = new Map();
  for (const level of unique(depth.values())) {
    const column = [...depth.keys()].filter((one) => depth.get(one) === level);
    column.forEach((one, at) => place.set(one, { generation: level, lane: at - (column.length - 1) / 2 }));
  }
  const nodes = [...place].map(([one, at]) => ({ ...at, row: one, step: columns.step[one], self: one === row, series: kindOf(found, one), name: nameOf(found, one), solved: columns.attempts[one] ? `${columns.solved[one]} of ${columns.attempts[one]}` : "not attempted" }));
  return { nodes, edges: edges.map(([from, to]) => ({ ...place.get(from), generation2: place.get(to).generation, lane2: place.get(to).lane })) };
}

/** Every time that the task was attempted: its rate, and each attempt. */
async function history(found, row) {
  const { columns, family, run } = found;
  const own = columns.attempts[row] ? [[columns.step[row], columns.index[row], columns.solved[row], columns.attempts[row]]] : [];
  const times = [...own, ...(family.later[columns.task[row]] ?? [])];
  if (!times.length) return el("div", {}, el("h4", {}, "Attempts"), el("p", { class: "faint" }, "It was never attempted."));
  const groups = await Promise.all(times.map(async ([step, index, solved, attempts]) => {
    const rate = el("p", { class: "what" }, el("b", {}, `Step ${step} `), rateBar(solved, attempts), el("span", { class: "faint" }, ` solve rate ${percent(solved / attempts)}`));
    return el("div", {}, rate, await attemptsOf(run, step, kindOf(found, row), index));
  }));
  return el("div", {}, el("h4", {}, times.length > 1 ? `Attempts at ${times.length} times` : "Attempts"), groups);
}

async function attemptsOf(run, step, kind, index) {
  const facts = await layer(run, "facts", step);
  if (!facts) return gone();
  const place = facts.findIndex((group) => group[0] === kind && group[1] === index);
  if (place < 0) return gone();
  const texts = new Map();
  for (const name of ["texts0", "texts1", "texts2"]) {
    for (const [group, attempt, text] of (await layer(run, name, step)) ?? []) if (group === place) texts.set(attempt, text);
  }
  return facts[place][3].map((fact, attempt) => attemptView(run, step, `${step}/solve/${kind}/${padded(index)}/${attempt}`, fact, texts.get(attempt)));
}

function attemptView(run, step, name, [reason, , tokens, finished, reward, advantage, detail], text) {
  const tag = el("span", { class: reason === "correct" ? "tag ok" : "tag no" }, words(reason));
  const numbers = el("span", { class: "faint num" }, `reward ${signed(reward)} · advantage ${signed(advantage)} · ${tokens} tokens${finished ? "" : ", cut"}`);
  const said = detail ? el("p", { class: "faint" }, detail) : null;
  return el("details", { class: "attempt" }, el("summary", {}, el("b", {}, `#${name.split("/").at(-1)}`), tag, numbers), text === undefined ? gone() : el("pre", {}, text || "(nothing)"), said, ledgerButton({ run }, step, name));
}
