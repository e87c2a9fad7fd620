// Puts the page together, follows the theme, and, where it is served live, asks for what is new.

const THEMES = ["auto", "light", "dark"];
const dark = matchMedia("(prefers-color-scheme: dark)");
let theme = "auto";

function applyTheme() {
  document.documentElement.dataset.theme = theme === "auto" ? (dark.matches ? "dark" : "light") : theme;
  const button = document.getElementById("theme");
  button.textContent = theme[0].toUpperCase() + theme.slice(1);
  button.setAttribute("aria-label", `Colours: ${theme}`);
}

function foot() {
  if (DATA.sweep) return [el("p", {}, "Every figure is computed from the runs' metrics. For one run in full: azr report and its folder. The page asks the network for nothing.")];
  const notes = [...DATA.runs, ...DATA.evals].flatMap((one) => one.notes.map((note) => `${one.name}: ${note}`));
  return [
    notes.length ? el("div", {}, "What this page does not show", el("ul", {}, notes.map((note) => el("li", {}, note)))) : el("p", {}, "Everything that was written is on this page."),
    el("p", {}, "Every figure is recomputed from the run's events; times and the random guess come from its metrics. The page asks the network for nothing."),
  ];
}

function build() {
  const parts = DATA.sweep ? sweepSections(DATA.sweep) : [overview()];
  if (DATA.runs.some((run) => run.curves.step.length || run.held_out.length)) parts.push(curvesSection());
  const browse = el("div", { id: "browse" });
  if (DATA.runs.length) parts.push(section("curriculum", "Curriculum", "Every proposal with its verdict and its parents. Open one to see its program, all attempts with their rewards, its ancestors and its ledger.", riseGroup(), browse));
  if (DATA.evals.length) parts.push(evalsSection());
  document.getElementById("main").replaceChildren(...parts);
  document.getElementById("foot").replaceChildren(...foot());
  const titles = parts.slice(1).map((part) => [part.id, part.querySelector("h2").textContent]);
  document.getElementById("nav").replaceChildren(...[["overview", "Overview"], ...titles].map(([id, text]) => el("a", { href: `#${id}` }, text)));
  return DATA.runs.length ? new Curriculum(browse) : null;
}

/** Draw the page anew from newer data, and stay where the reader was. */
async function refresh(data) {
  const at = scrollY;
  const asked = curriculum?.asks();
  const focused = document.activeElement?.id;
  DATA = data;
  opened.clear();
  await start();
  if (asked) await curriculum?.ask(asked);
  await curriculum?.follow();
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  scrollTo(0, at);
}

let curriculum = null;

async function start() {
  curriculum = build();
  redrawAll(); // charts of an older page let go of what they hold
  await curriculum?.start();
  document.body.dataset.ready = "yes";
}

async function follow(address) {
  let version = "";
  for (;;) {
    await new Promise((wake) => setTimeout(wake, 3000));
    const answer = await fetch(address, { headers: version ? { "If-None-Match": version } : {}, cache: "no-store" }).catch(() => null);
    if (answer?.status !== 200) continue;
    version = answer.headers.get("ETag") ?? "";
    await refresh(await answer.json());
  }
}

dark.addEventListener("change", () => { applyTheme(); redrawAll(); });
document.getElementById("theme").addEventListener("click", () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  applyTheme();
  redrawAll();
});
addEventListener("keydown", (event) => leaves(event) && curriculum?.close());
addEventListener("popstate", () => curriculum?.follow());
applyTheme();
await start();
await curriculum?.follow();
if (document.body.dataset.live) follow(document.body.dataset.live);
