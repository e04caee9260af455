// One trial, opened: its requests over time, its checks, its steps and all its figures.
const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};
function tableOf(label, heads, rows) {
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads.map((h) => element("th", { scope: "col", className: h.startsWith("#") ? "n" : "", textContent: h.replace("#", "") })))));
  const body = table.createTBody();
  for (const cells of rows) {
    const row = body.insertRow();
    cells.forEach((cell, i) => cellOf(row, cell, heads[i].startsWith("#") ? "n" : ["fail", "warn"].includes(cell) ? (cell === "fail" ? "bad" : "unsure") : ""));
  }
  const scroll = element("div", { className: "scroll", tabIndex: 0 }, table);
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", label);
  return scroll;
}
function openTrial(id) {
  const trial = trials.find((one) => one.id === id);
  const dialog = byId("trial");
  for (const place of dialog.querySelectorAll(".chart")) views.get(place)?.finalize(), views.delete(place);
  const close = element("button", { type: "button", textContent: "Close", onclick: () => dialog.close() });
  const verdict = trial.valid ? element("span", { className: "chip", textContent: "valid" }) : element("span", { className: "chip danger", textContent: `invalid: ${trial.why}` });
  const picker = element("select");
  fill(picker, [["ttft", "TTFT (ms)"], ["tpot", "TPOT (ms)"], ["e2e", "E2E latency (ms)"]], "ttft");
  const place = element("div", { className: "chart" });
  place.setAttribute("role", "img");
  const words = element("figcaption");
  const found = requestsOf(id);
  const { texts, of } = data.checks;
  const checks = of[id].map(([name, figure, limit, verdictPlace, advice]) => [texts[name], number(figure), texts[limit], texts[verdictPlace], texts[advice]]);
  const bars = element("figure", {}, element("h3", { textContent: "Its steps" }), Object.assign(element("div", { className: "chart" }), { role: "img" }));
  dialog.replaceChildren(
    element("div", { className: "top" }, element("h2", { id: "trial-title", textContent: trialName(trial) }), close),
    element("p", { className: "note" }, verdict, element("span", { className: "id", textContent: ` ${id} ` }), new Date(1000 * trial.at).toISOString().slice(0, 19).replace("T", " ") + " UTC"),
    ...(found ? [element("figure", {}, element("h3", { textContent: "Its requests" }), element("div", { className: "pickers" }, element("label", {}, "Latency ", picker)), place, words)] : [element("p", { className: "note", textContent: "Its requests are not in this page." })]),
    element("h3", { textContent: "Its checks" }), tableOf("Checks", ["Check", "#Figure", "Must be", "Verdict", "Advice"], checks),
    bars,
    element("h3", { textContent: "Its figures" }), tableOf("Figures", ["Metric", "#Figure", "Unit"], told.map((m) => [metrics[m].label, number(trial.m[m]), metrics[m].unit])),
  );
  dialog.showModal();
  dialog.scrollTop = 0;
  const server = trials.some((one) => one.id === id) && data.series.of[id];
  if (server) showServersOf(id);
  const drawn = [stepsOf(bars, trial.s.map(([step, outcome, spent]) => stepRow(data.step_names[step], data.outcomes[outcome], spent, 1)))];
  const show = () => requestsFigure(place, words, trial, found, picker.value, picker.selectedOptions[0].text);
  picker.addEventListener("change", show);
  if (found) drawn.push(show());
  return Promise.all(drawn);
}
function requestsFigure(place, words, trial, { total, rows }, measure, title) {
  const point = (row) => ({
    x: row.scheduled, y: row[measure], server: row.server, what: row.failed ? `failed, ${row.phase}` : row.phase, xs: `scheduled at ${number(row.scheduled)} s`,
    ttft: `TTFT ${withUnit(row.ttft, "ms")}`, tpot: `TPOT ${withUnit(row.tpot, "ms")}`, e2e: `E2E ${withUnit(row.e2e, "ms")}`,
  });
  const failed = rows.filter((row) => row.failed).map(point);
  const points = rows.filter((row) => !row.failed && row[measure] !== null).map(point).sort((a, b) => a.server < b.server ? -1 : 1);
  words.textContent = `${rows.length === total ? `All ${total} requests` : `${rows.length} of ${total} requests: every k-th, and the slowest`}, by when they were scheduled. Shaded: the measured window.${failed.length ? ` Crosses: ${failed.length} failed.` : ""}`;
  return draw(place, "requests", { window: [{ x: trial.w[0], x2: trial.w[1], what: "measured window" }], points, failed },
    { x: { title: "seconds from the first scheduled request", scale: { padding: 4, nice: false } }, y: axis(title, points.map((p) => p.y)) },
    `${title} of ${rows.length} requests over the trial.`);
}
