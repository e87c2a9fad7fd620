// The address of a task: #task=RUN@3/propose/deduction/0002. Opening a task sets it, and it opens the task.

const linkTo = (run, name) => `#task=${encodeURIComponent(run.name)}@${name}`;

/** {at, name}: which run and which proposal the address names; at is -1 for a run that is not on the page. Else null. */
function linked() {
  const found = /^#task=(.*)@(\d+\/propose\/[^/]+\/\d+)$/.exec(location.hash);
  if (!found) return null;
  const [, run, name] = found;
  return { name, at: DATA.runs.findIndex((one) => encodeURIComponent(one.name) === run) };
}

/** Set the address without leaving the page, so that Back returns to the task before; "" for none. */
function setAddress(hash) {
  if (location.hash !== hash) window.history.pushState(null, "", hash || location.pathname + location.search);
}

/** Whether a key press is Escape, and not one that a field of the page answers itself. */
const leaves = (event) => event.key === "Escape" && !event.target.closest("select") && !(event.target.matches("input") && event.target.value);
