// Tables: heads that sort, rows that light their treatment, and the trials, some hundred at a time.
const FEW = 100;
function sortable(head, key, order) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    order((a, b) => {
      const x = key(a), y = key(b);
      if (x === null || y === null) return (x === null) - (y === null);
      return (x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1);
    });
  });
}

function treatmentTable() {
  const table = byId("treatments-table"), body = table.tBodies[0];
  const rows = [...body.rows];
  for (const head of table.tHead.rows[0].cells) {
    const [kind, which] = (head.dataset.sort ?? "").split(/:(.*)/);
    const m = metricIndex(which);
    const key = kind === "f" ? (row) => treatments[row.dataset.t][which] : kind === "m" ? (row) => means[row.dataset.t][m] : null;
    if (key) sortable(head, key, (compare) => body.replaceChildren(...rows.sort(compare)));
  }
  body.addEventListener("mouseover", (event) => point(+(event.target.closest("tr")?.dataset.t ?? -1)));
  body.addEventListener("mouseleave", () => point(-1));
  for (const row of rows) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "pin";
    button.textContent = "\u25c9";
    button.setAttribute("aria-label", `Light ${named(+row.dataset.t)} in every figure`);
    button.addEventListener("click", () => {
      pin(+row.dataset.t);
      button.setAttribute("aria-pressed", String(choice.pinned === +row.dataset.t));
    });
    row.cells[0].prepend(button);
  }
}
function filterRows() {
  for (const row of byId("treatments-table").tBodies[0].rows) row.hidden = !passes(+row.dataset.t);
}

const cellOf = (row, content, cls) => {
  const cell = row.insertCell();
  cell.append(content);
  if (cls) cell.className = cls;
  return cell;
};
const trialOrder = { compare: null, all: false };
const trialColumns = [
  { title: "Trial", text: (t) => t.id.slice(0, 8), key: (t) => t.id, cls: "id" },
  ...varied.map((i) => ({ title: factors[i].name, text: (t) => level(t.t, i), key: (t) => treatments[t.t][i] })),
  { title: "Replicate", text: replicateOf, key: replicateOf },
  { title: "Valid", text: (t) => t.valid ? "valid" : `invalid: ${t.why}`, key: (t) => t.valid ? 0 : 1 },
  ...told.filter((m) => metrics[m].key).map((m) => ({ title: metrics[m].label, unit: metrics[m].unit, numeric: true, text: (t) => number(t.m[m]), key: (t) => t.m[m] })),
  { title: "All steps", unit: "s", numeric: true, text: (t) => number(spentOn(t)), key: (t) => spentOn(t) },
];
const spentOn = (trial) => trial.s.reduce((sum, [, , spent]) => sum + spent, 0);
function trialRows() {
  const every = shownTrials();
  if (trialOrder.compare) every.sort(trialOrder.compare);
  const part = trialOrder.all ? every : every.slice(0, FEW);
  const body = byId("trials-table").tBodies[0];
  body.replaceChildren(...part.map((trial) => {
    const row = document.createElement("tr");
    row.dataset.t = trial.t;
    if (!trial.valid) row.className = "invalid";
    for (const column of trialColumns) {
      const words = column.text(trial);
      if (column.cls === "id") cellOf(row, opener(trial.id, words), "id");
      else cellOf(row, words, column.numeric ? "n" : column.title === "Valid" && !trial.valid ? "bad" : "");
    }
    return row;
  }));
  byId("trials-count").textContent = part.length < every.length ? `The first ${part.length} of ${every.length}.` : `${every.length} trial${every.length === 1 ? "" : "s"}.`;
  const more = byId("trials-more");
  more.hidden = part.length === every.length;
  more.textContent = `Show all ${every.length}`;
}
function opener(id, words) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "open";
  button.textContent = words;
  button.addEventListener("click", () => openTrial(id));
  return button;
}
function trialTable() {
  const head = byId("trials-table").tHead.insertRow();
  for (const column of trialColumns) {
    const cell = document.createElement("th");
    cell.scope = "col";
    if (column.numeric) cell.className = "n";
    cell.append(column.title);
    if (column.unit) {
      const unit = document.createElement("span");
      unit.className = "unit";
      unit.textContent = " " + column.unit;
      cell.append(unit);
    }
    head.append(cell);
    sortable(cell, column.key, (compare) => { trialOrder.compare = compare; trialRows(); });
  }
  const body = byId("trials-table").tBodies[0];
  body.addEventListener("mouseover", (event) => point(+(event.target.closest("tr")?.dataset.t ?? -1)));
  body.addEventListener("mouseleave", () => point(-1));
  byId("trials-more").addEventListener("click", () => { trialOrder.all = true; trialRows(); });
  byId("trials").hidden = false;
  trialRows();
  for (const cell of document.querySelectorAll("td[data-trial]")) cell.replaceChildren(opener(cell.dataset.trial, cell.textContent));
}
