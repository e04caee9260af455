"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { factors, metrics, treatments, trials, varied } = data;
  const byId = (id) => document.getElementById(id);
  const metricIndex = (name) => metrics.findIndex((metric) => metric.name === name);

  // Numbers as everywhere on the page: three significant digits, thousands set apart.
  function number(value) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "\u2013";
    const size = value === 0 ? 2 : Math.floor(Math.log10(Math.abs(value)));
    const digits = Math.max(0, Math.min(6, 2 - size));
    return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  }
  const withUnit = (value, unit) => number(value) + (unit && value !== null ? " " + unit : "");
  const seconds = (value) => value < 1 ? `${Math.round(1000 * value)} ms` : `${number(value)} s`;
  const mean = (values) => values.length ? values.reduce((a, b) => a + b, 0) / values.length : null;
  const level = (treatment, factor) => factors[factor].levels[treatments[treatment][factor]];
  const named = (treatment) =>
    factors.map((factor, i) => `${factor.name} ${level(treatment, i)}`).join(", ") || "the only treatment";

  // Every picture is drawn anew from its checked document whenever a picker changes.
  async function draw(figure, chart, datasets, titles, description, height) {
    const spec = structuredClone(data.charts[chart]);
    spec.height = height ?? 340;
    // A layer without rows would have scales without an extent.
    spec.layer = spec.layer.filter((layer) => !layer.data || datasets[layer.data.name].length);
    const views = new Set(spec.layer.map((layer) => layer.name));
    spec.params = (spec.params ?? []).filter((param) => !param.views || param.views.some((view) => views.has(view)));
    spec.datasets = { ...spec.datasets, ...datasets };
    spec.description = description;
    for (const layer of spec.layer) {
      for (const [channel, change] of Object.entries(titles)) {
        if (layer.encoding?.[channel]) Object.assign(layer.encoding[channel], change);
      }
    }
    figure.hidden = false;
    const place = figure.querySelector(".chart");
    place.setAttribute("aria-label", description);
    await vegaEmbed(place, spec, { renderer: "svg", actions: false, ast: false });
  }

  function fill(select, options, chosen) {
    for (const [value, text] of options) select.add(new Option(text, value, false, String(value) === String(chosen)));
  }
  const factorOptions = varied.map((i) => [i, factors[i].name]);
  const told = metrics.map((metric, i) => i).filter((i) => trials.some((trial) => trial.m[i] !== null));
  const metricOptions = told.map((i) => [i, metrics[i].title]);
  const first = (names) => names.map(metricIndex).find((i) => told.includes(i)) ?? told[0];
  const caption = (figure, text) => { figure.querySelector("figcaption").textContent = text; };

  // Mean over the replicates of each treatment: invalid trials are in no mean.
  function treatmentMeans(m) {
    const values = treatments.map(() => []);
    for (const trial of trials) if (trial.valid && trial.m[m] !== null) values[trial.t].push(trial.m[m]);
    return values.map(mean);
  }

  function heatmap() {
    const figure = byId("fig-heatmap");
    const m = +byId("heatmap-metric").value;
    const x = +byId("heatmap-x").value;
    const picked = byId("heatmap-y").value;
    const y = picked === "" || +picked === x ? null : +picked;
    const means = treatmentMeans(m);
    const rows = y === null ? [""] : factors[y].levels;
    const cells = [];
    rows.forEach((down, j) => factors[x].levels.forEach((across, i) => {
      const here = treatments.map((t, k) => k).filter((k) => treatments[k][x] === i && (y === null || treatments[k][y] === j));
      const known = here.map((k) => means[k]).filter((value) => value !== null);
      const mine = trials.filter((trial) => here.includes(trial.t));
      const valid = mine.filter((trial) => trial.valid).length;
      cells.push({
        x: across, y: down, known: known.length, value: withUnit(mean(known), metrics[m].unit), mean: mean(known), empty: !known.length,
        label: known.length ? number(mean(known)) : mine.length && !valid ? "invalid" : "\u2013",
        tip: [across, down].filter(Boolean).join(" \u00d7 "),
        trials: `${valid} valid${mine.length > valid ? `, ${mine.length - valid} invalid` : ""}`,
      });
    }));
    const values = cells.filter((cell) => !cell.empty).map((cell) => cell.mean);
    const low = Math.min(...values), high = Math.max(...values), lower = metrics[m].lower;
    // Colours span at least a fifth of the largest figure, or chance would look like a landscape.
    const span = Math.max(high - low, 0.2 * Math.abs(high)) || 1;
    for (const cell of cells) {
      const share = cell.empty ? 0 : lower ? (cell.mean - low) / span : 1 - (high - cell.mean) / span;
      cell.goodness = cell.empty ? 0 : lower ? 1 - share : share;
    }
    const most = Math.max(...cells.map((cell) => cell.known));
    const partial = cells.filter((cell) => !cell.empty && cell.known < most);
    for (const cell of partial) cell.label += "*";
    figure.hidden = false; // a hidden figure has no width
    const narrow = figure.clientWidth / factors[x].levels.length < 58;
    if (narrow) for (const cell of cells) cell.label = "";
    const meaning = lower === null ? "higher" : lower ? "better (lower)" : "better (higher)";
    const others = varied.filter((i) => i !== x && i !== y).map((i) => factors[i].name);
    caption(figure, `Stronger colour is ${meaning}. Mean over valid trials${others.length ? " and over " + others.join(", ") : ""}.`
      + (partial.length ? " * Not every combination of the others was measured: compare with care." : ""));
    return draw(figure, "heatmap", { cells },
      { x: { title: factors[x].name }, y: { title: y === null ? null : factors[y].name } },
      `Heatmap of ${metrics[m].title} by ${factors[x].name}${y === null ? "" : " and " + factors[y].name}; the table of treatments has the figures.`,
      46 * rows.length);
  }

  // A logarithmic axis where values span more than a factor of twenty, and says so.
  function axis(title, values) {
    const positive = values.every((value) => value > 0);
    const wide = positive && Math.max(...values) / Math.min(...values) > 20;
    return wide ? { title: `${title}, logarithmic`, type: "log" } : { title };
  }
  function withAxis(change, encoding) {
    const scale = { ...encoding.scale };
    // A nice logarithmic domain reaches to the next power of ten, mostly empty.
    if (change.type) Object.assign(scale, { type: change.type, nice: false });
    return { title: change.title, scale };
  }

  function scatter() {
    const figure = byId("fig-scatter");
    const mx = +byId("scatter-x").value, my = +byId("scatter-y").value;
    const c = byId("scatter-colour").value;
    const colour = (t) => c === "" ? "all trials" : level(t, +c);
    const text = (value, m) => withUnit(value, metrics[m].unit);
    const point = (t, x, y, what) => ({
      x, y, colour: colour(t), treatment: named(t), what,
      xs: `${metrics[mx].label} ${text(x, mx)}`, ys: `${metrics[my].label} ${text(y, my)}`,
    });
    const points = trials.filter((trial) => trial.m[mx] !== null && trial.m[my] !== null).map((trial) => ({
      ...point(trial.t, trial.m[mx], trial.m[my], trial.valid ? "one trial" : `invalid: ${trial.why}`), valid: trial.valid,
    }));
    const xs = treatmentMeans(mx), ys = treatmentMeans(my);
    const load = factors.findIndex((factor, i) => factor.load && varied.includes(i));
    const means = treatments.map((levels, t) => t).filter((t) => xs[t] !== null && ys[t] !== null).map((t) => ({
      ...point(t, xs[t], ys[t], "mean of valid trials"),
      line: load < 0 ? String(t) : treatments[t].filter((_, i) => i !== load).join("/"),
      order: load < 0 ? 0 : treatments[t][load],
    }));
    means.sort((a, b) => factorOrder(a.colour, c) - factorOrder(b.colour, c));
    const x = axis(metrics[mx].title, points.map((p) => p.x)), y = axis(metrics[my].title, points.map((p) => p.y));
    const shape = data.charts.scatter.layer[0].encoding;
    const crosses = points.some((p) => !p.valid) ? " Crosses are invalid trials." : "";
    caption(figure, `Large dots are treatments, small ones their trials.${crosses}${load < 0 ? "" : ` Lines follow ${factors[load].name}.`} Choose a legend entry to single it out.`);
    // Lines along the load would cross its own colours, so there they are plain.
    const along = load < 0 ? [] : means;
    const plain = c === String(load);
    return draw(figure, "scatter", {
      lines: plain ? [] : along, plain_lines: plain ? along : [], means,
      trials: points.filter((p) => p.valid), invalid: points.filter((p) => !p.valid),
    },
      { x: withAxis(x, shape.x), y: withAxis(y, shape.y), color: colourEncoding(shape.color, c) },
      `${metrics[my].title} against ${metrics[mx].title}, one point per treatment; the table of treatments has the figures.`);
  }
  const factorOrder = (label, c) => c === "" ? 0 : factors[+c].levels.indexOf(label);
  function colourEncoding(encoding, c) {
    if (encoding.value) return {};
    if (c === "") return { legend: null };
    return { title: factors[+c].name, scale: { ...encoding.scale, domain: factors[+c].levels } };
  }

  const MEASURES = { ttft: "TTFT (ms)", itl: "ITL (ms)", tpot: "TPOT (ms)", e2e: "E2E latency (ms)" };
  function ecdf() {
    const figure = byId("fig-ecdf");
    const measure = byId("ecdf-measure").value;
    const c = byId("ecdf-colour").value;
    const curves = [], every = [];
    let invalid = false;
    for (const [t, valid, count, quantiles] of data.curves[measure]) {
      invalid ||= !valid;
      quantiles.forEach((x, i) => {
        const q = data.probabilities[i];
        every.push(x);
        curves.push({ x, q, treatment: named(t), valid, colour: c === "" ? "all" : level(t, +c),
          what: `${(q * 100).toLocaleString("en-US")} % of ${count.toLocaleString("en-US")} ${measure === "itl" ? "gaps" : "requests"} within ${number(x)} ms${valid ? "" : " (invalid)"}` });
      });
    }
    const shape = data.charts.ecdf.layer[0].encoding;
    const change = axis(MEASURES[measure], every.filter((value) => value > 0));
    const x = withAxis(change, shape.x);
    // One straggler must not squeeze every curve against the axis.
    const tops = data.curves[measure].map((curve) => curve[3][data.probabilities.indexOf(0.995)]);
    const bottoms = data.curves[measure].map((curve) => curve[3][data.probabilities.indexOf(0.002)]);
    x.scale.domain = [Math.min(...bottoms), Math.max(...tops)];
    x.scale.nice = false;
    const shown = change.type ? curves.filter((row) => row.x > 0) : curves;
    caption(figure, `One curve per treatment, over the requests of its valid trials in the measured window, up to p99.5.${invalid ? " Dashed: no valid trial, so invalid ones are drawn." : ""} Further left is quicker.`);
    return draw(figure, "ecdf", { curves: shown }, { x, color: colourEncoding(shape.color, c) },
      `Cumulative distribution of ${MEASURES[measure]} per treatment.`);
  }

  function share(part, total) {
    const percent = total ? 100 * part / total : 0;
    return percent > 0 && percent < 1 ? "under 1 %" : `${Math.round(percent)} %`;
  }

  function steps() {
    const order = ["applied", "unchanged", "skipped", "failed"];
    const total = data.steps.reduce((sum, row) => sum + row[2], 0);
    const rows = data.steps.map(([step, outcome, spent, count]) => ({
      step, outcome, seconds: spent, count, time: seconds(spent), rank: order.indexOf(outcome),
    }));
    const figure = byId("fig-steps");
    figure.hidden = false; // a hidden figure has no width
    const roomy = figure.clientWidth > 620;
    const step_totals = [...new Set(rows.map((row) => row.step))].map((step) => {
      const mine = rows.filter((row) => row.step === step);
      const spent = mine.reduce((sum, row) => sum + row.seconds, 0);
      const parts = order.map((o) => mine.find((row) => row.outcome === o)).filter(Boolean).map((row) => `${row.count} ${row.outcome}`);
      return { step, seconds: spent, label: `${seconds(spent)}, ${share(spent, total)}${roomy ? ` (${parts.join(", ")})` : ""}` };
    });
    return draw(figure, "steps", { steps: rows, step_totals }, {},
      "Seconds by step over all trials: " + step_totals.map((row) => `${row.step} ${row.label}`).join("; "),
      34 * step_totals.length);
  }

  function trialTable() {
    const head = byId("trials-table").tHead.insertRow();
    const body = byId("trials-table").tBodies[0];
    const columns = [
      { title: "Trial", text: (t) => t.id, cls: "id" },
      ...factors.map((factor, i) => ({ title: factor.name, text: (t) => level(t.t, i), key: (t) => treatments[t.t][i] })),
      { title: "Replicate", text: (t) => t.r.join("/"), key: (t) => t.r.join("/") },
      { title: "Valid", text: (t) => t.valid ? "valid" : `invalid: ${t.why}`, key: (t) => t.valid ? 0 : 1 },
      ...told.filter((m) => metrics[m].key).map((m) => ({ title: metrics[m].label, unit: metrics[m].unit, numeric: true, text: (t) => number(t.m[m]), key: (t) => t.m[m] })),
      { title: "All steps", unit: "s", numeric: true, text: (t) => number(t.s), key: (t) => t.s },
    ];
    const rows = trials.map((trial) => {
      const row = document.createElement("tr");
      if (!trial.valid) row.className = "invalid";
      for (const column of columns) {
        const cell = row.insertCell();
        cell.textContent = column.text(trial);
        cell.className = [column.numeric ? "n" : column.cls ?? "", column.title === "Valid" && !trial.valid ? "bad" : ""].join(" ").trim();
      }
      return { trial, row };
    });
    function sort(column, cell) {
      const up = cell.getAttribute("aria-sort") !== "ascending";
      for (const other of head.cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = column.key ?? column.text;
      rows.sort((a, b) => {
        const x = key(a.trial), y = key(b.trial);
        if (x === null || y === null) return (x === null) - (y === null);
        return (x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1);
      });
      body.replaceChildren(...rows.map((entry) => entry.row));
    }
    for (const column of columns) {
      const cell = document.createElement("th");
      cell.scope = "col";
      if (column.numeric) cell.className = "n";
      const button = document.createElement("button");
      button.type = "button";
      button.append(column.title);
      if (column.unit) {
        const unit = document.createElement("span");
        unit.className = "unit";
        unit.textContent = " " + column.unit;
        button.append(unit);
      }
      button.addEventListener("click", () => sort(column, cell));
      cell.append(button);
      head.append(cell);
    }
    body.append(...rows.map((entry) => entry.row));
    byId("trials").hidden = false;
  }

  function wire(ids, action) {
    for (const id of ids) byId(id).addEventListener("change", action);
    return action();
  }

  async function start() {
    trialTable();
    const stack = varied.find((i) => !factors[i].path.startsWith("workload.")) ?? varied[0];
    const other = varied.find((i) => i !== stack);
    const drawn = [];
    if (varied.length && told.length) {
      fill(byId("heatmap-metric"), metricOptions, first(["ttft_ms_p50"]));
      fill(byId("heatmap-x"), factorOptions, other ?? stack);
      if (varied.length > 1) fill(byId("heatmap-y"), factorOptions, stack);
      else byId("heatmap-y").closest("label").hidden = true;
      drawn.push(wire(["heatmap-metric", "heatmap-x", "heatmap-y"], heatmap));
    }
    const colours = varied.length ? factorOptions : [["", "none"]];
    const rates = metricOptions.filter(([i]) => metrics[i].lower === false);
    const times = metricOptions.filter(([i]) => metrics[i].unit === "ms");
    if (rates.length && times.length) {
      fill(byId("scatter-y"), times, first(["ttft_ms_p50"]));
      fill(byId("scatter-x"), rates, first(["output_tokens_per_s", "requests_per_s"]));
      fill(byId("scatter-colour"), colours, stack ?? "");
      drawn.push(wire(["scatter-x", "scatter-y", "scatter-colour"], scatter));
    }
    const measures = Object.keys(MEASURES).filter((name) => data.curves[name]);
    if (measures.length) {
      fill(byId("ecdf-measure"), measures.map((name) => [name, MEASURES[name]]), measures[0]);
      fill(byId("ecdf-colour"), colours, stack ?? "");
      drawn.push(wire(["ecdf-measure", "ecdf-colour"], ecdf));
    }
    if (data.steps.length) drawn.push(steps());
    await Promise.all(drawn);
    document.documentElement.dataset.drawn = String(drawn.length);
  }
  start();
})();
