// The data of the page, and the few helpers that all else is written with. Text reaches the screen by textContent alone.

let DATA = JSON.parse(document.getElementById("data").textContent);

/** An element. Properties that begin with "on" are listeners; `style` is an object; all others are attributes. */
function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, text] of Object.entries(value)) node.style.setProperty(key, text);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

const opened = new Map();

/** The JSON in a compressed block (base64 of zlib); opened once. */
function unpack(block) {
  if (!opened.has(block)) opened.set(block, inflate(block));
  return opened.get(block);
}

async function inflate(block) {
  const bytes = Uint8Array.from(atob(block), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

/** A block of a layer of a run, or null where it was left out. */
async function layer(run, name, step) {
  const block = run.blocks[name]?.[step];
  return block ? unpack(block) : null;
}

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const percent = (value, digits = 0) => (isNumber(value) ? `${(100 * value).toFixed(digits)}\u00a0%` : "–");
const decimal = (value, digits = 2) => (isNumber(value) ? value.toFixed(digits) : "–");
const signed = (value, digits = 2) => (isNumber(value) ? `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}` : "–");
const points = (value) => `${value < 0 ? "−" : "+"}${Math.abs(100 * value).toFixed(1)}`;
const count = (value) => (isNumber(value) ? value.toLocaleString("en") : "–");
const words = (reason) => String(reason).replaceAll("_", " ");
const sum = (values) => values.reduce((total, value) => total + (value ?? 0), 0);
const unique = (values) => [...new Set(values)];

/** A colour of the theme, as it is now. */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Kinds in one order and one colour, in all runs. */
const kinds = () => unique(DATA.runs.flatMap((run) => Object.keys(run.curves.kinds)));
const kindVariable = (kind) => `s${Math.max(0, kinds().indexOf(kind)) % 6}`;
const kindMark = (kind) => el("span", { class: "kind", style: { "--c": `var(--${kindVariable(kind)})` } }, kind);

/** Share of attempts that are right, as a small bar. */
function rateBar(solved, attempts) {
  if (!attempts) return null;
  const share = `${(100 * solved) / attempts}%`;
  return el("span", { class: "rate", title: "attempts that were right" }, el("i", { style: { "--share": share } }), `${solved}/${attempts}`);
}

/** A table whose cells are text or elements; headings that begin with ">" are numbers, to the right. */
function table(headings, rows, properties = {}) {
  const right = headings.map((heading) => heading.startsWith(">"));
  const cells = (tag, row) => row.map((cell, at) => el(tag, { class: right[at] ? "r" : null }, cell ?? ""));
  const head = el("thead", {}, el("tr", {}, cells("th", headings.map((heading) => heading.replace(/^>/, "")))));
  const body = el("tbody", {}, rows.map((row) => el("tr", {}, cells("td", row))));
  return el("div", { class: "scroll" }, el("table", properties, headings.some(Boolean) ? head : null, body));
}

/** A part of the page. */
function section(id, title, lead, ...children) {
  return el("section", { id, "aria-labelledby": `${id}-title` }, el("header", {}, el("h2", { id: `${id}-title` }, title), el("p", { class: "soft" }, lead)), ...children);
}
