// What is there is drawn: the first picture at once, the others when the browser has time.
const redraw = new Map();
function wire(name, ids, action) {
  redraw.set(name, action);
  for (const id of ids) byId(id).addEventListener("change", action);
}
let tabled = false;
function tables() {
  if (tabled) return;
  tabled = true;
  treatmentTable();
  trialTable();
}
async function drawAll() {
  for (const action of redraw.values()) {
    await action();
    if (!performance.getEntriesByName("first picture").length) {
      await new Promise((painted) => requestAnimationFrame(() => setTimeout(painted)));
      performance.mark("first picture");
    }
    tables();
    await new Promise((next) => setTimeout(next));
  }
  tables();
  document.documentElement.dataset.drawn = String(redraw.size);
}

function filters() {
  const stack = varied.find((i) => !factors[i].path.startsWith("workload.")) ?? varied[0] ?? null;
  choice.colour = stack;
  if (!varied.length) return;
  fill(byId("colour"), varied.map((i) => [i, factors[i].name]), stack);
  byId("colour").addEventListener("change", () => { choice.colour = +byId("colour").value; drawAll(); });
  for (const i of varied) {
    const set = element("fieldset", {}, element("legend", { textContent: factors[i].name }));
    factors[i].levels.forEach((label, place) => {
      const box = element("input", { type: "checkbox", checked: true });
      box.addEventListener("change", () => {
        choice.hidden[i][box.checked ? "delete" : "add"](place);
        filter();
      });
      set.append(element("label", {}, box, ` ${label}`));
    });
    byId("levels").append(set);
  }
  const reset = element("button", { type: "button", textContent: "Show all" });
  reset.addEventListener("click", () => {
    for (const set of choice.hidden) set.clear();
    for (const box of byId("levels").querySelectorAll("input")) box.checked = true;
    filter();
  });
  byId("levels").append(reset);
  byId("filters").hidden = false;
  document.addEventListener("click", (event) => { if (!byId("filter").contains(event.target)) byId("filter").open = false; });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") { byId("filter").open = false; choice.pinned = -1; point(-1); } });
}
function filter() {
  const left = shown().length;
  byId("filtered").textContent = left < treatments.length ? ` (${left} of ${treatments.length})` : "";
  filterRows();
  trialRows();
  drawAll();
}

function theme() {
  const button = byId("theme"), names = { "": "as the system", light: "light", dark: "dark" };
  const kept = () => { try { return localStorage.getItem("llmatrix-theme") ?? ""; } catch { return ""; } };
  const set = (name) => {
    document.documentElement.dataset.theme = name;
    button.textContent = `Theme: ${names[name]}`;
    try { localStorage.setItem("llmatrix-theme", name); } catch { /* a page from disk may have no store */ }
  };
  set(kept() in names ? kept() : "");
  button.hidden = false;
  button.addEventListener("click", () => {
    const order = Object.keys(names);
    set(order[(order.indexOf(document.documentElement.dataset.theme) + 1) % order.length]);
  });
}

function pickers() {
  const options = (places) => places.map((i) => [i, metrics[i].title]);
  const stack = choice.colour, other = varied.find((i) => i !== stack);
  if (data.tradeoffs.length) {
    fill(byId("pareto-pair"), data.tradeoffs.map((pair, i) => [i, pair.title]), 0);
    wire("pareto", ["pareto-pair"], pareto);
  }
  const times = told.filter((i) => metrics[i].unit === "ms");
  const rates = told.filter((i) => metrics[i].lower === false || metrics[i].name === "concurrency_mean");
  if (times.length && (rates.length || data.loads)) {
    const promised = data.objectives.map(([m]) => m).find((m) => times.includes(m));
    fill(byId("load-y"), options(times), promised ?? first(["ttft_ms_p50"], times));
    fill(byId("load-x"), [...(data.loads ? [["asked", "the load that was asked"]] : []), ...options(rates)], data.loads ? "asked" : first(["output_tokens_per_s", "requests_per_s"], rates));
    wire("load", ["load-x", "load-y"], load);
  }
  if (varied.length && told.length) {
    fill(byId("heatmap-metric"), options(told), first(["ttft_ms_p50"]));
    fill(byId("heatmap-x"), varied.map((i) => [i, factors[i].name]), other ?? stack);
    if (varied.length > 1) fill(byId("heatmap-y"), varied.map((i) => [i, factors[i].name]), stack);
    else byId("heatmap-y").closest("label").hidden = true;
    wire("heatmap", ["heatmap-metric", "heatmap-x", "heatmap-y"], heatmap);
  }
  const moved = data.effects.map((each, i) => [i, each]).filter(([, each]) => each.main.length);
  if (moved.length) {
    fill(byId("effects-metric"), moved.map(([i, each]) => [i, metrics[each.m].title]), moved[0][0]);
    wire("effects", ["effects-metric"], effects);
  }
  const measures = Object.keys(MEASURES).filter((name) => data.curves[name]);
  if (measures.length) {
    fill(byId("ecdf-measure"), measures.map((name) => [name, MEASURES[name]]), measures[0]);
    fill(byId("ecdf-scale"), [["all", "share at or below"], ["tail", "the tail, logarithmic"]], "all");
    wire("ecdf", ["ecdf-measure", "ecdf-scale"], ecdf);
  }
  const scraped = trials.filter((trial) => data.series.of[trial.id]);
  if (scraped.length) {
    fill(byId("servers-trial"), scraped.map((trial) => [trial.id, `${trial.id.slice(0, 8)}: ${trialName(trial)}`]), scraped[0].id);
    wire("servers", ["servers-trial", "servers-source"], servers);
  }
  if (data.steps.length) wire("steps", [], steps);
}

theme();
filters();
pickers();
for (const section of document.querySelectorAll("section")) section.hidden ||= section.querySelector("figure") !== null && ![...redraw.keys()].some((name) => section.querySelector(`#fig-${name}`));
drawAll();
