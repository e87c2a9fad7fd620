// Charts as Vega-Lite specifications. Steps run along every x axis; `rows` have step, series and value.

/** What all charts look like, in the colours of the theme. */
function chartConfig() {
  const [ink, soft, faint, line] = ["ink", "soft", "faint", "line"].map(colour);
  const font = getComputedStyle(document.body).fontFamily;
  return {
    font, background: "transparent", view: { stroke: null }, padding: { left: 2, right: 8, top: 4, bottom: 2 },
    axis: { labelColor: faint, titleColor: soft, titleFontWeight: 400, titleFontSize: 11, labelFontSize: 10.5, gridColor: line, gridOpacity: 0.75, domainColor: line, tickColor: line, tickSize: 4, labelPadding: 5 },
    axisY: { domain: false, ticks: false, titleAngle: 0, titleAlign: "left", titleAnchor: "end", titleX: 0, titleY: -14 },
    axisX: { grid: false, titleAnchor: "end" },
    legend: { orient: "top", direction: "horizontal", title: null, labelColor: soft, labelFontSize: 11.5, symbolSize: 70, symbolStrokeWidth: 0, symbolType: "circle", symbolOpacity: 1, offset: 34, columnPadding: 14, labelLimit: 180, ...(innerWidth < 560 ? { columns: 2 } : {}) },
    range: { category: [0, 1, 2, 3, 4, 5].map((at) => colour(`s${at}`)) },
    rule: { color: faint }, text: { color: ink, font },
  };
}

const drawn = new Set();

/** Draw a chart into a node, once that is on the page and so has a width; again when the theme changes. */
async function draw(node, spec, { onClick } = {}) {
  for (let tries = 0; !node.isConnected && tries < 200; tries++) await new Promise((wake) => setTimeout(wake, 25));
  if (!node.isConnected) return;
  const full = { $schema: "https://vega.github.io/schema/vega-lite/v6.json", width: "container", height: 170, autosize: { type: "fit-x", contains: "padding" }, description: node.getAttribute("aria-label"), ...spec(), config: chartConfig() };
  const tooltip = { theme: "custom", disableDefaultStyle: false };
  const embedded = await vegaEmbed(node, full, { ast: true, actions: false, renderer: full.usermeta?.renderer ?? "svg", tooltip });
  node.dataset.drawn = "yes";
  if (onClick) embedded.view.addEventListener("click", (_, item) => item?.datum && onClick(item.datum));
  drawn.add(redraw);
  function redraw() {
    embedded.finalize();
    drawn.delete(redraw);
    if (node.isConnected) draw(node, spec, { onClick });
  }
}

const redrawAll = () => [...drawn].forEach((again) => again());

const xAxis = (rows) => {
  const steps = rows.map((row) => row.step);
  return { field: "step", type: "quantitative", title: "step", scale: { domain: [Math.min(...steps), Math.max(...steps)], nice: false, zero: false }, axis: { tickMinStep: 1, format: "d", tickCount: 6 } };
};

const seriesColour = (order, range) => ({ field: "series", type: "nominal", sort: order, scale: { domain: order, range }, ...(order.length < 2 ? { legend: null } : {}) });

/** How many steps to each side the line through a chart's points takes the mean of: none where there are few. */
const reachOf = (steps) => (steps < 16 ? 0 : Math.max(1, Math.floor(steps / 30)));

/** A line at the step next to the pointer, with the value of each series there. */
function stepUnderPointer(order, format) {
  const hover = { name: "hover", select: { type: "point", fields: ["step"], nearest: true, on: "pointerover", clear: "pointerout" } };
  const tooltip = [{ field: "step", title: "step" }, ...order.map((name) => ({ field: name, type: "quantitative", format }))];
  return { transform: [{ pivot: "series", value: "value", groupby: ["step"] }], params: [hover], mark: { type: "rule", strokeWidth: 1 }, encoding: { color: { value: colour("faint") }, opacity: { condition: { param: "hover", empty: false, value: 1 }, value: 0.001 }, tooltip } };
}

/** Points at the steps, and a line through them: the mean of neighbouring steps where there are many. */
function lines(rows, { title, format = ".2~f", domain, order, range, reach, type = "linear" }) {
  const steps = unique(rows.map((row) => row.step)).length;
  const half = reach ?? reachOf(steps);
  const y = (field) => ({ field, type: "quantitative", title, axis: { format, tickCount: 5 }, scale: { domain, zero: false, nice: true, type } });
  const smooth = { window: [{ op: "mean", field: "value", as: "smooth" }], frame: [-half, half], groupby: ["series"], sort: [{ field: "step" }] };
  return {
    data: { values: rows }, encoding: { x: xAxis(rows), color: seriesColour(order, range) },
    layer: [
      { transform: [smooth], mark: { type: "line", strokeWidth: 2, strokeCap: "round", strokeJoin: "round" }, encoding: { y: y("smooth") } },
      { mark: { type: "point", filled: true, size: half ? 12 : 24, opacity: half ? (steps > 150 ? 0.18 : 0.32) : 1 }, encoding: { y: y("value") } },
      stepUnderPointer(order, format),
    ],
  };
}

/** A median as a line, with the quartiles around it as a band; `order` names the lower quartile, the median, the upper. */
function quartiles(rows, { title, format = ".2~f", domain, order, range }) {
  const [low, median, high] = order;
  const steps = unique(rows.map((row) => row.step)).length;
  const half = reachOf(steps);
  const y = (field) => ({ field, type: "quantitative", title, axis: { format, tickCount: 5 }, scale: { domain, zero: false, nice: true } });
  const smooth = [{ window: [{ op: "mean", field: "value", as: "smooth" }], frame: [-half, half], groupby: ["series"], sort: [{ field: "step" }] }, { pivot: "series", value: "smooth", groupby: ["step"] }];
  return {
    data: { values: rows }, encoding: { x: xAxis(rows), color: { value: range[0] } },
    layer: [
      { transform: smooth, mark: { type: "area", opacity: 0.2 }, encoding: { y: y(low), y2: { field: high } } },
      { transform: smooth, mark: { type: "line", strokeWidth: 2, strokeCap: "round", strokeJoin: "round" }, encoding: { y: y(median) } },
      { transform: [{ filter: { field: "series", equal: median } }], mark: { type: "point", filled: true, size: half ? 12 : 24, opacity: half ? 0.32 : 1 }, encoding: { y: y("value") } },
      stepUnderPointer(order, format),
    ],
  };
}

/** Accuracy with its interval as a band, against a random guess. `rows` have low and high too. */
function bands(rows, { title, order, range, guesses, domain }) {
  const y = { type: "quantitative", title, axis: { format: ".0%", tickCount: 5 }, scale: { domain, nice: true } };
  const about = [{ field: "step", title: "step" }, { field: "series", title: "of" }, { field: "value", title, format: ".1%" }, { field: "low", title: "95 % from", format: ".1%" }, { field: "high", title: "to", format: ".1%" }];
  const [x, color] = [xAxis(rows), seriesColour(order, range)];
  return {
    data: { values: rows },
    layer: [
      { transform: [{ filter: "datum.band" }], mark: { type: "area", opacity: 0.17 }, encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, color } },
      ...guesses.map((guess) => ({ data: { values: [{ guess, label: "random guess" }] }, layer: [
        { mark: { type: "rule", strokeDash: [4, 4] }, encoding: { y: { ...y, field: "guess" } } },
        { mark: { type: "text", align: "right", baseline: "bottom", dx: -2, dy: -3, fontSize: 10.5, color: colour("faint") }, encoding: { x: { value: "width" }, y: { ...y, field: "guess" }, text: { field: "label" } } },
      ] })),
      { mark: { type: "line", strokeCap: "round" }, encoding: { x, y: { ...y, field: "value" }, color, strokeWidth: { condition: { test: "datum.band", value: 2.5 }, value: 1.2 } } },
      { mark: { type: "point", filled: true, size: 34 }, encoding: { x, y: { ...y, field: "value" }, color, opacity: { condition: { test: "datum.band", value: 1 }, value: 0.6 }, tooltip: about } },
    ],
  };
}

/** How the new tasks of each step spread over the rows of a histogram: `rows` have from, to, series, share, tasks. */
function heat(rows, { order }) {
  const x = { ...xAxis(rows), field: "from", scale: { domain: [Math.min(...rows.map((row) => row.from)), Math.max(...rows.map((row) => row.to))], nice: false, zero: false } };
  return {
    height: 190, data: { values: rows }, mark: { type: "rect", stroke: colour("paper"), strokeWidth: rows.length > 500 ? 0 : 1 },
    encoding: {
      x, x2: { field: "to" }, y: { field: "series", type: "nominal", sort: order, title: "learnability (Eq. 4)", axis: { domain: false, ticks: false, labelLimit: 90 } },
      color: { field: "share", type: "quantitative", scale: { range: [colour("accent-wash"), colour("accent")], domainMin: 0 }, legend: { format: ".0%", gradientLength: 120, gradientThickness: 8, title: "share of new tasks", titleColor: colour("soft"), titleFontWeight: 400, titleFontSize: 11 } },
      tooltip: [{ field: "from", title: "from step" }, { field: "upto", title: "to step" }, { field: "series", title: "learnability" }, { field: "share", format: ".0%", title: "of new tasks" }, { field: "tasks", title: "tasks" }],
    },
  };
}

/** Shares of a whole, one on the other. */
function stacked(rows, { title, order, range }) {
  const about = [{ field: "step" }, { field: "series", title: "stage" }, { field: "value", title: "share", format: ".1%" }, { field: "seconds", format: ".2f", title: "seconds" }];
  return { data: { values: rows }, mark: { type: "area", opacity: 0.85, tooltip: true }, encoding: { x: xAxis(rows), y: { field: "value", type: "quantitative", stack: "zero", title, axis: { format: ".0%", tickCount: 5 }, scale: { domain: [0, 1], clamp: true } }, color: seriesColour(order, range), order: { field: "rank" }, tooltip: about } };
}

/** Every task where it was born: generation by step. */
function generations(rows, { order, range }) {
  return {
    height: 250, usermeta: { renderer: "canvas" }, data: { values: rows }, mark: { type: "circle", size: 26, opacity: 0.55, cursor: "pointer" },
    encoding: {
      x: xAxis(rows), y: { field: "jittered", type: "quantitative", title: "generation (steps of descent from a seed)", axis: { tickMinStep: 1, format: "d", tickCount: 6 }, scale: { zero: true } },
      color: seriesColour(order, range), tooltip: [{ field: "name", title: "task" }, { field: "generation" }, { field: "solved", title: "attempts that were right" }],
    },
  };
}

/** A task's relatives: ancestors before it, offspring after it; the numbers are the steps at which they were born. */
function kinship(nodes, edges, { order, range }) {
  const generation = (field) => ({ field, type: "quantitative", title: "generations before and after", scale: { nice: false, zero: false, padding: 18 }, axis: { tickMinStep: 1, format: "+d" } });
  const y = { field: "lane", type: "quantitative", axis: null, scale: { nice: false, zero: false, padding: 18 } };
  const most = Math.max(...unique(nodes.map((node) => node.generation)).map((level) => nodes.filter((node) => node.generation === level).length));
  return {
    height: 40 + 26 * most,
    layer: [
      { data: { values: edges }, mark: { type: "rule", strokeWidth: 1, opacity: 0.55 }, encoding: { x: generation("generation"), y, x2: { field: "generation2" }, y2: { field: "lane2" } } },
      { data: { values: nodes }, mark: { type: "circle", size: 120, cursor: "pointer", opacity: 1 }, encoding: { x: generation("generation"), y, color: { ...seriesColour(order, range), legend: null }, stroke: { condition: { test: "datum.self", value: colour("ink") }, value: colour("raised") }, strokeWidth: { value: 2 }, tooltip: [{ field: "name", title: "task" }, { field: "step" }, { field: "solved", title: "attempts that were right" }] } },
      { data: { values: nodes }, mark: { type: "text", dy: -12, fontSize: 10, color: colour("faint") }, encoding: { x: generation("generation"), y, text: { field: "step" } } },
    ],
  };
}
