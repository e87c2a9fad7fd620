// The family as a tree: seeds at the root, each task under the first of its parents. Branches grow when they are opened.

/** A tree (role "tree") of the accepted tasks; those in `matching` and the way to them. Arrow keys walk it. */
function makeTree(found, matching, open) {
  const { columns, byTask } = found;
  const under = new Map();
  const wanted = new Set();
  for (const [task, row] of byTask) {
    const parent = columns.parents[row][0] ?? "";
    const above = parent === task ? "" : parent;
    if (!under.has(above)) under.set(above, []);
    under.get(above).push(task);
    if (!matching.has(row)) continue;
    for (let at = task; at && !wanted.has(at); at = byTask.has(at) ? columns.parents[byTask.get(at)][0] : null) wanted.add(at);
  }
  const roots = [...under.keys()].filter((parent) => parent && !byTask.has(parent)).concat(under.get("") ?? []);
  const shownRoots = roots.filter((task) => wanted.has(task));
  const tree = el("ul", { class: "tree", role: "tree", "aria-label": "Family tree", onkeydown: walk });
  tree.append(...shownRoots.map((task) => item(task, 1)));
  tree.querySelector("[role=treeitem]")?.setAttribute("tabindex", "0");
  return shownRoots.length ? tree : el("p", { class: "faint" }, "No accepted task matches.");

  function item(task, level) {
    const row = byTask.get(task);
    const children = (under.get(task) ?? []).filter((child) => wanted.has(child));
    const twig = el("span", { class: "twig", "aria-hidden": "true" }, children.length ? "▸" : "");
    const preview = el("span", { class: "preview" });
    if (row !== undefined) writtenOf(found, row).then((written) => (preview.textContent = beginningOf(written)));
    const label = row === undefined
      ? [el("b", {}, "seed"), el("span", { class: "faint mono" }, task)]
      : [kindMark(kindOf(found, row)), el("span", { class: "faint" }, `step ${columns.step[row]}`), outcomeTag(found, row), rateBar(columns.solved[row], columns.attempts[row]), children.length ? el("span", { class: "faint" }, `${children.length} under it`) : null];
    const node = el("li", { role: "treeitem", tabindex: "-1", "aria-level": level, "aria-expanded": children.length ? "false" : null, "aria-selected": "false", "data-task": task }, el("div", { class: "node", onclick: () => { choose(node); toggle(node); } }, twig, label, preview));
    node.grow = () => el("ul", { role: "group" }, children.map((child) => item(child, level + 1)));
    if (level === 1 && children.length) queueMicrotask(() => toggle(node));
    return node;
  }

  function choose(node) {
    tree.querySelectorAll("[role=treeitem]").forEach((other) => { other.setAttribute("tabindex", "-1"); other.setAttribute("aria-selected", "false"); });
    node.setAttribute("tabindex", "0");
    node.setAttribute("aria-selected", "true");
    const row = byTask.get(node.dataset.task);
    if (row !== undefined) open(row);
  }

  function toggle(node, to = node.getAttribute("aria-expanded") === "false") {
    if (!node.hasAttribute("aria-expanded")) return;
    node.setAttribute("aria-expanded", String(to));
    node.querySelector(".twig").textContent = to ? "▾" : "▸";
    if (to && !node.querySelector("ul")) node.append(node.grow());
    const group = node.querySelector("ul");
    if (group) group.hidden = !to;
  }

  function walk(event) {
    const node = event.target.closest("[role=treeitem]");
    if (!node) return;
    const visible = [...tree.querySelectorAll("[role=treeitem]")].filter((other) => other.offsetParent);
    const go = (other) => { if (other) { node.setAttribute("tabindex", "-1"); other.setAttribute("tabindex", "0"); other.focus(); } };
    const at = visible.indexOf(node);
    const open_ = node.getAttribute("aria-expanded") === "true";
    const keys = {
      ArrowDown: () => go(visible[at + 1]), ArrowUp: () => go(visible[at - 1]), Home: () => go(visible[0]), End: () => go(visible.at(-1)),
      ArrowRight: () => (open_ ? go(visible[at + 1]) : toggle(node, true)),
      ArrowLeft: () => (open_ ? toggle(node, false) : go(node.parentElement.closest("[role=treeitem]"))),
      Enter: () => choose(node), " ": () => choose(node),
    };
    if (keys[event.key]) { keys[event.key](); event.preventDefault(); event.stopPropagation(); }
  }
}
