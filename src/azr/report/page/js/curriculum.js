// The curriculum: every proposal of a run, to be searched, filtered, and opened.

const PAGE = 40;
/** Lines of a program in a list. */
const PREVIEW_LINES = 4;

/** A run's family with what is looked up in it; made once a run. */
async function openFamily(run) {
  if (run.opened) return run.opened;
  const family = await unpack(run.family);
  const { columns } = family;
  const size = columns.step.length;
  const found = { run, family, columns, size, byTask: new Map(), children: new Map(), first: new Map(), generation: new Map() };
  for (let row = 0; row < size; row++) {
    const task = columns.task[row];
    if (!found.first.has(columns.step[row])) found.first.set(columns.step[row], row);
    if (task && (!found.byTask.has(task) || (columns.admitted[row] && !columns.admitted[found.byTask.get(task)]))) found.byTask.set(task, row);
    for (const parent of columns.parents[row]) {
      if (!found.children.has(parent)) found.children.set(parent, []);
      found.children.get(parent).push(row);
    }
    if (task && !found.generation.has(task)) found.generation.set(task, 1 + Math.max(0, ...columns.parents[row].map((parent) => found.generation.get(parent) ?? 0)));
  }
  run.opened = found;
  return found;
}

const kindOf = (found, row) => found.family.kinds[found.columns.kind[row]];
const reasonOf = (found, row) => found.family.reasons[found.columns.reason[row]];
const formOf = (found, row) => found.family.forms[found.columns.form[row]] ?? null;
/** Offspring of a proposal: of its task, unless that was there before and this only proposed it again. */
const offspringOf = (found, row) => (found.byTask.get(found.columns.task[row]) === row && found.children.get(found.columns.task[row])) || [];
const padded = (index) => String(index).padStart(4, "0");
const nameOf = (found, row) => `${found.columns.step[row]}/propose/${kindOf(found, row)}/${padded(found.columns.index[row])}`;

/** [text, detail, data] of a proposal, or null where it was left out. */
async function writtenOf(found, row) {
  const step = found.columns.step[row];
  const block = await layer(found.run, "proposals", step);
  return block?.[row - found.first.get(step)] ?? null;
}

/** The first lines of the program, or of whatever the task's data begin with, as they were written. */
function beginningOf(written) {
  if (!written) return "";
  const [text, , data] = written;
  const first = data ? Object.values(data).find((value) => typeof value === "string") ?? JSON.stringify(data) : text;
  const lines = first.trim().split("\n").map((line) => line.slice(0, 160));
  const rest = lines.length - PREVIEW_LINES;
  return rest > 1 ? [...lines.slice(0, PREVIEW_LINES), `… ${rest} more lines`].join("\n") : lines.join("\n");
}

function outcomeTag(found, row) {
  const form = formOf(found, row);
  return [
    found.columns.task[row] ? null : el("span", { class: "tag no" }, words(reasonOf(found, row))),
    form ? el("span", { class: "tag warn" }, words(form)) : null,
  ];
}

class Curriculum {
  constructor(root) {
    this.root = root;
    this.detail = el("article", { class: "detail", id: "detail", tabindex: "-1", "aria-label": "The task that is open" });
    this.run = DATA.runs[0];
    this.page = 0;
    this.view = "list";
  }

  async start() {
    this.found = await openFamily(this.run);
    this.tools = this.makeTools();
    this.list = el("ul", { class: "list", "aria-label": "Proposals" });
    this.list.addEventListener("keydown", (event) => this.move(event));
    this.counted = el("p", { class: "count", role: "status", "aria-live": "polite" });
    this.pager = el("div", { class: "pager" });
    this.map = el("figure", {});
    this.root.replaceChildren(this.map, this.tools, el("div", { class: "browse" }, el("div", {}, this.counted, this.list, this.pager), this.detail));
    this.drawMap();
    await this.filter();
  }

  makeTools() {
    const change = () => this.filter();
    const { family } = this.found;
    const select = (id, label, choices) => el("label", {}, label, el("select", { id, onchange: change }, el("option", { value: "" }, "all"), choices.map(([value, text]) => el("option", { value }, text))));
    this.words = el("input", { type: "search", id: "search", placeholder: "program text, answer, id …", autocomplete: "off", spellcheck: "false", oninput: () => { clearTimeout(this.timer); this.timer = setTimeout(change, 180); } });
    const reasons = [["!", "rejected, for any reason"], ...family.reasons.map((reason) => [reason, words(reason)]), ...family.forms.map((form) => [`form:${form}`, `degenerate: ${words(form)}`])];
    const runs = DATA.runs.length > 1 ? el("label", {}, "Run", el("select", { id: "run", onchange: (event) => { setAddress(""); this.changeRun(Number(event.target.value)); } }, DATA.runs.map((run, at) => el("option", { value: at, selected: run === this.run }, run.name)))) : null;
    const steps = (id, label) => el("label", {}, label, el("input", { type: "number", id, min: 0, inputmode: "numeric", onchange: change }));
    const order = el("label", {}, "Order", el("select", { id: "order", onchange: change }, [["new", "newest first"], ["old", "oldest first"], ["hard", "hardest first"], ["family", "most offspring"], ["novel", "most novel"], ["complex", "most complex"]].map(([value, text]) => el("option", { value }, text))));
    this.toggle = el("button", { type: "button", class: "quiet", id: "view", "aria-pressed": "false", style: { height: "2.2rem" }, onclick: () => this.switchView() }, "As a tree");
    return el("div", { class: "tools", role: "search" }, runs, el("label", {}, "Search", this.words), select("kind", "Kind", family.kinds.map((kind) => [kind, kind])), select("reason", "Outcome", reasons), steps("from", "From step"), steps("to", "To step"), order, this.toggle);
  }

  /** What the tools ask for, so that a newer page can ask for it again. */
  asks() {
    const values = Object.fromEntries([...this.root.querySelectorAll(".tools input, .tools select")].map((tool) => [tool.id, tool.value]));
    return { values, view: this.view };
  }

  async ask({ values, view }) {
    if (values.run) await this.changeRun(Number(values.run));
    for (const [id, value] of Object.entries(values)) this.tools.querySelector(`#${id}`).value = value;
    await (view === this.view ? this.filter() : this.switchView());
  }

  async changeRun(at) {
    this.run = DATA.runs[at];
    this.empty();
    await this.start();
  }

  async switchView() {
    this.view = this.view === "list" ? "tree" : "list";
    this.toggle.setAttribute("aria-pressed", String(this.view === "tree"));
    await this.filter();
  }

  /** Rows that the tools let through, in the order that they ask for. */
  async matching() {
    const value = (id) => this.tools.querySelector(`#${id}`).value;
    const { columns, size } = this.found;
    const [kind, reason, from, to] = ["kind", "reason", "from", "to"].map(value);
    let rows = [];
    for (let row = 0; row < size; row++) {
      if (kind && kindOf(this.found, row) !== kind) continue;
      if (reason === "!" ? columns.task[row] : reason.startsWith("form:") ? formOf(this.found, row) !== reason.slice(5) : reason && reasonOf(this.found, row) !== reason) continue;
      if ((from && columns.step[row] < Number(from)) || (to && columns.step[row] > Number(to))) continue;
      rows.push(row);
    }
    const wanted = this.words.value.trim().toLowerCase();
    if (wanted) rows = await this.searched(rows, wanted);
    const offspring = (row) => offspringOf(this.found, row).length;
    const rate = (row) => (columns.attempts[row] ? columns.solved[row] / columns.attempts[row] : 2);
    const by = { new: (a, b) => b - a, old: (a, b) => a - b, hard: (a, b) => rate(a) - rate(b) || b - a, family: (a, b) => offspring(b) - offspring(a) || a - b, novel: (a, b) => (columns.novelty[b] ?? -1) - (columns.novelty[a] ?? -1), complex: (a, b) => (columns.complexity[b] ?? -1) - (columns.complexity[a] ?? -1) };
    return rows.sort(by[value("order")]);
  }

  async searched(rows, wanted) {
    const kept = [];
    for (const row of rows) {
      const written = await writtenOf(this.found, row);
      const text = `${nameOf(this.found, row)} ${this.found.columns.task[row]} ${written ? `${written[0]} ${JSON.stringify(written[2] ?? "")}` : ""}`;
      if (text.toLowerCase().includes(wanted)) kept.push(row);
    }
    return kept;
  }

  async filter() {
    const asked = (this.asked = Symbol("filter"));
    const rows = await this.matching();
    if (asked !== this.asked) return;
    this.rows = rows;
    this.page = 0;
    this.counted.textContent = `${count(rows.length)} of ${count(this.found.size)} proposals`;
    await this.show();
  }

  async show() {
    if (this.view === "tree") {
      this.pager.replaceChildren();
      this.list.replaceChildren(el("li", {}, makeTree(this.found, new Set(this.rows), (row) => this.open(row))));
      return;
    }
    const pages = Math.max(1, Math.ceil(this.rows.length / PAGE));
    const part = this.rows.slice(this.page * PAGE, (this.page + 1) * PAGE);
    this.list.replaceChildren(...part.map((row) => el("li", {}, this.row(row))));
    const turn = (by) => { this.page += by; this.show(); this.list.scrollIntoView({ block: "nearest" }); };
    this.pager.replaceChildren(...(pages > 1 ? [el("button", { type: "button", class: "quiet", disabled: this.page === 0, onclick: () => turn(-1) }, "Previous"), `page ${this.page + 1} of ${count(pages)}`, el("button", { type: "button", class: "quiet", disabled: this.page + 1 >= pages, onclick: () => turn(1) }, "Next")] : []));
  }

  row(row) {
    const { columns } = this.found;
    const preview = el("span", { class: "preview" });
    writtenOf(this.found, row).then((written) => (preview.textContent = beginningOf(written)));
    const offspring = offspringOf(this.found, row).length;
    return el("button", { type: "button", class: "row", "data-row": row, "aria-current": this.current === row ? "true" : null, onclick: () => this.open(row) }, el("span", { class: "at", title: "step" }, columns.step[row]), el("span", { class: columns.task[row] ? "what" : "what rejected" }, kindMark(kindOf(this.found, row)), outcomeTag(this.found, row), offspring ? el("span", { class: "faint" }, `${offspring} from it`) : null), rateBar(columns.solved[row], columns.attempts[row]) ?? el("span"), preview);
  }

  /** Up and down go through the list. */
  move(event) {
    if (this.view !== "list" || !["ArrowDown", "ArrowUp"].includes(event.key)) return;
    const rows = [...this.list.querySelectorAll(".row")];
    const next = rows[rows.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1)];
    if (next) { next.focus(); event.preventDefault(); }
  }

  mark(row) {
    this.current = row;
    this.list.querySelectorAll(".row").forEach((node) => (Number(node.dataset.row) === row ? node.setAttribute("aria-current", "true") : node.removeAttribute("aria-current")));
  }

  async open(row) {
    this.mark(row);
    const link = linkTo(this.run, nameOf(this.found, row));
    setAddress(link);
    await showTask(this.detail, this.found, row, (other) => this.open(other));
    const close = el("button", { type: "button", class: "quiet", "aria-keyshortcuts": "Escape", onclick: () => this.close() }, "Close");
    this.detail.prepend(el("div", { class: "actions" }, el("a", { class: "quiet", href: link }, "Link to this"), close));
    this.detail.focus({ preventScroll: true });
    this.detail.scrollTop = 0;
    if (!matchMedia("(min-width: 68rem)").matches) this.detail.scrollIntoView();
  }

  empty() {
    this.mark(null);
    this.detail.replaceChildren();
    delete this.detail.dataset.open;
  }

  /** Close the task that is open, and go back to its row. */
  close() {
    if (!this.detail.childElementCount) return;
    const row = this.list.querySelector(`.row[data-row="${this.current}"]`) ?? this.list.querySelector("[role=treeitem][tabindex='0']");
    this.empty();
    setAddress("");
    row?.focus();
  }

  /** Open the task that the address names; close it if the address names none. */
  async follow() {
    const asked = linked();
    if (!asked) {
      if (!location.hash) this.empty();
      return;
    }
    if (asked.at >= 0 && DATA.runs[asked.at] !== this.run) await this.changeRun(asked.at);
    const row = [...Array(this.found.size).keys()].find((one) => nameOf(this.found, one) === asked.name);
    if (asked.at >= 0 && row !== undefined) await this.open(row);
    else this.detail.replaceChildren(el("p", {}, `${decodeURIComponent(location.hash.slice(6))} is not on this page.`));
    this.detail.scrollIntoView();
  }

  /** Every task where it was born; a click opens it. */
  drawMap() {
    const { columns, byTask, generation } = this.found;
    const rows = [...byTask].map(([task, row]) => ({ row, step: columns.step[row], generation: generation.get(task), jittered: generation.get(task) + 0.7 * (((row * 0.618) % 1) - 0.5), series: kindOf(this.found, row), name: nameOf(this.found, row), solved: columns.attempts[row] ? `${columns.solved[row]} of ${columns.attempts[row]}` : "not attempted" }));
    if (rows.length < 2) return;
    const node = el("div", { class: "chart", role: "img", "data-chart": "generations", "aria-label": `${rows.length} tasks by step and generation; the list below holds the same tasks` });
    this.map.replaceChildren(el("figcaption", {}, el("h4", {}, "The family at a glance"), el("p", {}, "Every accepted task at its step. A task of generation 3 was proposed from one of generation 2. Click one to open it.")), node);
    const order = kinds();
    draw(node, () => generations(rows, { order, range: order.map((kind) => colour(kindVariable(kind))) }), { onClick: (datum) => this.open(datum.row) });
  }
}
