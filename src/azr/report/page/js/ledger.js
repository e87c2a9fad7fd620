// The ledger of a rollout, as `azr explain` prints it.

function ledgerButton(found, step, name) {
  const place = el("div", {});
  const button = el("button", { type: "button", class: "quiet", "aria-expanded": "false", onclick: show }, "Ledger: from text to gradient");
  return el("div", {}, button, place);

  async function show() {
    if (place.childElementCount) { place.replaceChildren(); button.setAttribute("aria-expanded", "false"); return; }
    const ledger = (await layer(found.run, "ledgers", step))?.[name];
    place.replaceChildren(ledger ? ledgerView(ledger) : elsewhere(found.run, name));
    button.setAttribute("aria-expanded", "true");
  }
}

const elsewhere = (run, name) => el("div", { class: "ledger" }, el("p", { class: "faint" }, "Not on this page (or nothing was learnt from it). Where the run is:"), el("pre", {}, `azr explain ${run.name} ${name}`));

function ledgerView([rows, differing, passes]) {
  const account = table(["", "", ""], rows);
  const profiles = differing.length ? [el("h4", { style: { "margin-top": ".8rem" } }, "Where the profiles differ"), table(["", "paper", "reference"], differing)] : null;
  const steps = passes.map(([ratio, clipped, weight, push, tokens], at) => el("div", {},
    el("h4", { style: { "margin-top": ".8rem" } }, `Pass ${at + 1} of ${passes.length}`),
    el("p", { class: "faint" }, `ratio ${ratio} · clipped ${clipped} · weight ${weight} a token · push ${push} in all. The tokens that were pushed most:`),
    table([">t", "token", ">log π", ">ratio", ">advantage", ">push"], tokens.map(([t, token, ...numbers]) => [t, el("code", {}, token), ...numbers]))));
  return el("div", { class: "ledger" }, account, profiles, steps.length ? steps : el("p", { class: "faint" }, "No record of its tokens: events.tokens_every leaves this step out."));
}
