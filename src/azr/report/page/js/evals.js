// Benchmarks: the table of `azr eval`, and every completion behind it.

function evalsSection() {
  return section("benchmarks", "Benchmarks", "What azr eval measured; every completion is below, with its verdict.", DATA.evals.map((found) => el("div", { class: "group" }, el("h3", {}, found.name), settingsLine(found), resultsTable(found), completions(found))));
}

const settingsLine = (found) => el("dl", { class: "facts", style: { "margin-bottom": ".9rem" } }, Object.entries(found.settings).filter(([, value]) => value !== null).map(([name, value]) => el("div", {}, el("dt", {}, words(name)), el("dd", {}, String(value)))));

const interval = ([low, high]) => `${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)}`;

/** Benchmarks down, models across, with intervals and the paired difference to the first model. */
function resultsTable(found) {
  const models = unique(found.results.map((result) => result.model));
  const rows = [];
  for (const benchmark of unique(found.results.map((result) => result.benchmark))) {
    const results = models.map((model) => found.results.find((result) => result.model === model && result.benchmark === benchmark));
    const any = results.find(Boolean);
    for (const [part, about] of Object.entries(any.parts)) {
      for (const k of Object.keys(about.pass)) {
        const label = k !== Object.keys(about.pass)[0] ? "" : part === "all" ? el("b", {}, benchmark) : part;
        rows.push([label, String(about.problems), `pass@${k}`, ...results.map((result) => cell(result?.parts[part]?.pass[k], difference(found, benchmark, result?.model, part, k)))]);
      }
    }
  }
  return table(["", ">problems", "", ...models.map((model) => `>${lastPart(model)}`)], rows);
}

/** A file's model as the table names it. */
function titleOf(found, folder) {
  const plain = (model) => model.replace(/[^\w.-]+/g, "_").replace(/^_+|_+$/g, "");
  const model = found.results.map((result) => result.model).find((one) => [plain(one), `gold-${plain(one)}`, `broken-${plain(one)}`].includes(folder));
  return model === undefined ? folder : lastPart(model);
}

/** Of a folder its own name; a name on the hub as it is. */
const lastPart = (model) => (/^[./~]/.test(model) ? model.split("/").filter(Boolean).at(-1) : model);

function cell(pass, gain) {
  if (!pass) return "–";
  return [el("div", {}, percent(pass.value, 1)), el("div", { class: "faint" }, interval(pass.interval)), gain ? el("div", { class: gain.interval[0] > 0 ? "good" : gain.interval[1] < 0 ? "bad" : "faint" }, `${points(gain.value)} (${points(gain.interval[0])} to ${points(gain.interval[1])})`) : null];
}

const difference = (found, benchmark, model, part, k) => found.differences.find((line) => line.benchmark === benchmark && line.to === model && line.part === part)?.difference[k];

function completions(found) {
  if (!found.files.length) return el("p", { class: "faint" }, "There are no completions beside the results.");
  const benchmarks = unique(found.files.map((file) => file.benchmark));
  const list = el("ul", { class: "list", "aria-label": "Problems" });
  const counted = el("p", { class: "count", role: "status", "aria-live": "polite" });
  const detail = el("article", { class: "detail", tabindex: "-1", "aria-label": "The problem that is open", onkeydown: (event) => leaves(event) && close() });
  const pick = (label, choices) => el("label", {}, label, el("select", { onchange: show }, choices.map(([value, text]) => el("option", { value }, text))));
  const ofBenchmark = pick("Benchmark", benchmarks.map((name) => [name, name]));
  const reasons = unique(found.files.flatMap((file) => file.problems.flatMap(([, , fates]) => fates.map(([, reason]) => reason))));
  const outcome = pick("Outcome", [["", "all"], ["+", "some model is right"], ["-", "no model is right"], ["~", "models differ"], ...reasons.map((reason) => [reason, words(reason)])]);
  const search = el("input", { type: "search", placeholder: "problem id or group", oninput: show });
  show();
  const close = () => { detail.replaceChildren(); list.querySelector(`[data-problem="${detail.dataset.problem}"]`)?.focus(); };
  return el("div", { style: { "margin-top": "1.4rem" } }, el("div", { class: "tools", role: "search" }, el("label", {}, "Search", search), ofBenchmark, outcome), el("div", { class: "browse" }, el("div", {}, counted, el("div", { class: "scroll", style: { "max-height": "44rem", "overflow-y": "auto" } }, list)), detail));

  function show() {
    const benchmark = ofBenchmark.querySelector("select").value;
    const wanted = outcome.querySelector("select").value;
    const text = search.value.trim().toLowerCase();
    const files = found.files.filter((file) => file.benchmark === benchmark);
    const rows = files[0].problems.map(([id, group], at) => ({ id, group, at, fates: files.map((file) => file.problems[at]?.[2] ?? []) }));
    const kept = rows.filter((row) => through(row, wanted) && `${row.id} ${row.group}`.toLowerCase().includes(text));
    counted.textContent = `${count(kept.length)} of ${count(rows.length)} problems`;
    list.replaceChildren(...kept.map((row) => el("li", {}, el("button", { type: "button", class: "row", "data-problem": row.at, onclick: () => openProblem(detail, found, files, row) }, el("span", { class: "at" }, row.at + 1), el("span", { class: "what" }, row.id, row.group ? el("span", { class: "faint" }, row.group) : null), el("span"), el("span", { class: "what" }, row.fates.map((fates, model) => el("span", { class: "rate" }, titleOf(found, files[model].model), rateBar(fates.filter(([score]) => score >= 1).length, fates.length))))))));
  }
}

function through(row, wanted) {
  const right = row.fates.map((fates) => fates.some(([score]) => score >= 1));
  if (wanted === "+") return right.some(Boolean);
  if (wanted === "-") return !right.some(Boolean);
  if (wanted === "~") return right.some(Boolean) && !right.every(Boolean);
  return !wanted || row.fates.flat().some(([, reason]) => reason === wanted);
}

const BLOCK = 40;

async function openProblem(detail, found, files, row) {
  const parts = await Promise.all(files.map(async (file) => {
    const block = file.blocks[Math.floor(row.at / BLOCK)];
    return block ? (await unpack(block))[row.at % BLOCK] : null;
  }));
  const prompt = parts.find(Boolean)?.[0];
  detail.replaceChildren(
    el("div", { class: "head" }, el("p", { class: "faint" }, row.group), el("h3", {}, row.id)),
    el("details", { open: true }, el("summary", {}, el("b", {}, "Prompt")), prompt === undefined ? gone() : el("pre", {}, prompt)),
    ...files.map((file, model) => el("div", {}, el("h4", {}, titleOf(found, file.model)), row.fates[model].map((fate, at) => sampleView(fate, at, parts[model]?.[1][at])))),
  );
  detail.dataset.problem = row.at;
  detail.focus({ preventScroll: true });
  if (!matchMedia("(min-width: 68rem)").matches) detail.scrollIntoView();
}

function sampleView([score, reason, tokens, finished], at, text) {
  const tag = el("span", { class: score >= 1 ? "tag ok" : "tag no" }, words(reason));
  const about = el("span", { class: "faint num" }, [isNumber(tokens) ? `${tokens} tokens` : "", finished ? "" : "cut"].filter(Boolean).join(", "));
  return el("details", { class: "attempt", open: at === 0 }, el("summary", {}, el("b", {}, `#${at}`), tag, about), text ? [el("pre", {}, text[0] || "(nothing)"), text[1] ? el("p", { class: "faint" }, text[1]) : null] : gone());
}
