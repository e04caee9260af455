// One function for each picture: its rows out of the data, its titles out of what was picked.
function pareto() {
  const figure = reveal("pareto");
  const pair = data.tradeoffs[+byId("pareto-pair").value];
  const { x, y, points } = pair;
  const lowerX = metrics[x].lower === true, lowerY = metrics[y].lower === true;
  const rows = shown().filter((t) => points[t]).map((t) => {
    const [on, share] = points[t];
    return {
      t, x: means[t][x], y: means[t][y], on, colour: colourOf(t), line: configuration(t), order: data.loads ? data.loads.asked[t] : 0,
      treatment: named(t), xs: `${metrics[x].label} ${interval(means[t][x], halves[t][x], metrics[x].unit)}`, ys: `${metrics[y].label} ${interval(means[t][y], halves[t][y], metrics[y].unit)}`,
      front: `${on ? "on the front" : "beaten"}${share === null ? "" : `; on it in ${percent(share)} of resamples`}`,
    };
  }).sort((a, b) => colourRank(a.colour) - colourRank(b.colour));
  // The edge goes in right angles: what lies beyond it, nothing measured reaches.
  const front = rows.filter((row) => row.on).sort((a, b) => (a.x - b.x) * (lowerX ? -1 : 1));
  const edge = front.flatMap((row, i) => i ? [{ x: front[i - 1].x, y: row.y }, row] : [row]).map(({ x: ex, y: ey }, order) => ({ x: ex, y: ey, order }));
  const bars = (axisOf, other, m) => rows.filter((row) => halves[row.t][m] !== null).map((row) => ({
    t: row.t, colour: row.colour, [other]: row[other], [axisOf]: row[axisOf] - halves[row.t][m], [axisOf + "2"]: row[axisOf] + halves[row.t][m],
  }));
  const invalid = shownTrials().filter((trial) => !trial.valid && trial.m[x] !== null && trial.m[y] !== null).map((trial) => ({
    trial: trial.id, x: trial.m[x], y: trial.m[y], treatment: named(trial.t), what: `invalid: ${trial.why}`, xs: text(trial.m[x], x), ys: text(trial.m[y], y),
  }));
  const along = data.loads && rows.length <= 120 ? lineRows(rows) : [];
  const byLoad = loadFactors.includes(choice.colour);
  const way = `${lowerY ? "Lower" : "Higher"} and further ${lowerX ? "left" : "right"} is better`;
  const shares = front.filter((row) => points[row.t][1] !== null);
  caption(figure, `${way}. Ringed: on the front, no other treatment is at least as good in both; the dashed edge joins them.`
    + (along.length ? " Lines follow the load." : "")
    + (shares.length ? ` Surest: ${[...shares].sort((a, b) => points[b.t][1] - points[a.t][1]).slice(0, 3).map((row) => `${row.treatment} (${percent(points[row.t][1])} of resamples)`).join("; ")}.` : " Without replicates nobody knows how sure the front is.")
    + (invalid.length ? " Crosses are invalid trials." : ""));
  // Of very many treatments the intervals would hide the points; the table has them.
  const few = rows.length <= 120;
  const xs = few ? bars("x", "y", x) : [], ys = few ? bars("y", "x", y) : [];
  return draw(chartOf(figure), "pareto", {
    edge: edge.length > 1 ? edge : [], lines: byLoad ? [] : along, plain_lines: byLoad ? along : [],
    x_bars: xs, y_bars: ys, invalid, means: rows,
  }, {
    x: axis(metrics[x].title, [...rows, ...invalid].map((row) => row.x)),
    y: axis(metrics[y].title, [...rows, ...invalid].map((row) => row.y)), color: colours(),
  }, `${metrics[y].title} against ${metrics[x].title}. On the front: ${front.map((row) => `${row.treatment} (${row.xs}, ${row.ys})`).join("; ") || "nothing"}.`);
}

function load() {
  const figure = reveal("load");
  const y = +byId("load-y").value, picked = byId("load-x").value;
  const asked = picked === "asked", x = asked ? null : +picked;
  const at = (t, m) => asked ? data.loads.asked[t] : m[x];
  const title = asked ? `${data.loads.kind === "rate" ? "Asked rate" : "Concurrency"} (${data.loads.unit})` : metrics[x].title;
  const words = (value) => asked ? withUnit(value, data.loads.unit) : text(value, x);
  const row = (t, xv, yv, what) => ({ t, x: xv, y: yv, colour: colourOf(t), treatment: named(t), what, xs: words(xv), ys: `${metrics[y].label} ${text(yv, y)}` });
  const points = shownTrials().map((trial) => ({ ...row(trial.t, at(trial.t, trial.m), trial.m[y], trial.valid ? (trial.c ? "control trial" : "one trial") : `invalid: ${trial.why}`), valid: trial.valid, trial: trial.id }))
    .filter((p) => p.x !== null && p.y !== null);
  const rows = shown().map((t) => ({ ...row(t, at(t, means[t]), means[t][y], "mean of valid trials"), line: configuration(t), order: data.loads ? data.loads.asked[t] : 0 }))
    .filter((p) => p.x !== null && p.y !== null).sort((a, b) => colourRank(a.colour) - colourRank(b.colour));
  const y_bars = rows.filter((r) => halves[r.t][y] !== null).map((r) => ({ ...r, y: Math.max(r.y - halves[r.t][y], r.y / 1e3), y2: r.y + halves[r.t][y] }));
  const objective = data.objectives.find(([m]) => m === y);
  const limit = objective ? [{ y: objective[1], label: `objective: ${metrics[y].label} \u2264 ${text(objective[1], y)}` }] : [];
  const knees = asked ? data.loads.knees.filter(([t]) => passes(t)).map(([t, knee, share, edge]) => ({
    t, x: knee, colour: colourOf(t), treatment: configurationName(t), what: `knee at ${words(knee)}${share === null ? "" : `, named in ${percent(share)} of resamples`}${edge ? "; the edge of what was measured" : ""}`,
  })) : [];
  const lines = data.loads ? lineRows(rows) : [];
  caption(figure, `Large dots are treatments${y_bars.length ? " with their 95 % interval" : ""}, small ones their trials; choose one to open it.`
    + (lines.length ? " Lines follow the load." : "") + (limit.length ? " Dashed across: the objective." : "") + (knees.length ? " Dotted upright: each configuration's knee." : "")
    + (points.some((p) => !p.valid) ? " Crosses are invalid trials." : ""));
  return draw(chartOf(figure), "load", {
    knees, lines: loadFactors.includes(choice.colour) ? [] : lines, y_bars, limit, means: rows,
    trials: points.filter((p) => p.valid), invalid: points.filter((p) => !p.valid),
  }, {
    x: axis(title, [...rows, ...points].map((p) => p.x)), y: axis(metrics[y].title, [...rows, ...points, ...limit].map((p) => p.y)), color: colours(),
  }, `${metrics[y].title} against ${title}, one point per treatment; the table of treatments has the figures.`);
}

function heatmap() {
  const figure = reveal("heatmap");
  const m = +byId("heatmap-metric").value, x = +byId("heatmap-x").value;
  const picked = byId("heatmap-y").value;
  const y = picked === "" || +picked === x ? null : +picked;
  const here = shown();
  const cells = [];
  (y === null ? [""] : factors[y].levels).forEach((down, j) => factors[x].levels.forEach((across, i) => {
    const ts = here.filter((t) => treatments[t][x] === i && (y === null || treatments[t][y] === j));
    const known = ts.map((t) => means[t][m]).filter((value) => value !== null);
    const mine = trials.filter((trial) => ts.includes(trial.t) && !trial.c);
    const valid = mine.filter((trial) => trial.valid).length;
    cells.push({
      x: across, y: down, ts, known: known.length, value: text(mean(known), m), mean: mean(known), empty: !known.length,
      label: known.length ? number(mean(known)) : mine.length && !valid ? "invalid" : "\u2013",
      tip: [across, down].filter(Boolean).join(" \u00d7 "),
      trials: `${valid} valid${mine.length > valid ? `, ${mine.length - valid} invalid` : ""}`,
      ...(ts.length === 1 ? { t: ts[0] } : {}),
    });
  }));
  const [low, high] = extent(cells.filter((cell) => !cell.empty).map((cell) => cell.mean)), lower = metrics[m].lower;
  // Colours span at least a fifth of the largest figure, or chance would look like a landscape.
  const span = Math.max(high - low, 0.2 * Math.abs(high)) || 1;
  for (const cell of cells) {
    const share = cell.empty ? 0 : lower ? (cell.mean - low) / span : 1 - (high - cell.mean) / span;
    cell.goodness = cell.empty ? 0 : lower ? 1 - share : share;
  }
  const most = Math.max(...cells.map((cell) => cell.known));
  const partial = cells.filter((cell) => !cell.empty && cell.known < most);
  for (const cell of partial) cell.label += "*";
  if (figure.clientWidth / factors[x].levels.length < 62) for (const cell of cells) cell.label = "";
  const meaning = lower === null ? "higher" : lower ? "better (lower)" : "better (higher)";
  const others = varied.filter((i) => i !== x && i !== y).map((i) => factors[i].name);
  caption(figure, `Stronger colour is ${meaning}. Mean over valid trials${others.length ? " and over " + others.join(", ") : ""}.`
    + (partial.length ? " * Not every combination of the others was measured: compare with care." : ""));
  return draw(chartOf(figure), "heatmap", { cells },
    { x: { title: factors[x].name }, y: { title: y === null ? null : factors[y].name } },
    `Heatmap of ${metrics[m].title} by ${factors[x].name}${y === null ? "" : " and " + factors[y].name}; the table of treatments has the figures.`,
    Math.max(46, Math.min(64, 320 / new Set(cells.map((cell) => cell.y)).size)) * new Set(cells.map((cell) => cell.y)).size);
}

function effects() {
  const figure = reveal("effects");
  const { m, main, pairs } = data.effects[+byId("effects-metric").value];
  const heads = [], levels = [], bars = [];
  main.forEach(([f, p, parts]) => {
    heads.push({ row: `${levels.length + heads.length}|`, name: `${factors[f].name}  ${chance(p)}` });
    parts.forEach(([label, value, half, effect, effectHalf]) => {
      const row = `${levels.length + heads.length}|${label}`;
      levels.push({ row, factor: factors[f].name, level: label, order: levels.length, x: value, mean: interval(value, half, metrics[m].unit), effect: `${interval(effect, effectHalf, metrics[m].unit)} against the mean of all` });
      if (half !== null) bars.push({ row, x: value - half, x2: value + half });
    });
  });
  const rows = [...heads, ...levels].map((r) => r.row).sort((a, b) => parseInt(a) - parseInt(b));
  const sure = pairs.filter(([, , p]) => p !== null && p < 0.05).map(([a, b, p]) => `${factors[a].name} \u00d7 ${factors[b].name} (${chance(p)})`);
  const judged = pairs.some(([, , p]) => p !== null);
  caption(figure, `Each level's mean over all combinations of the other factors${bars.length ? " with its 95 % interval" : ""}; p: of \u201cthe factor does nothing\u201d.`
    + (sure.length ? ` Depend on each other: ${sure.join("; ")}: read them in the heatmap, not alone.` : judged ? " No two factors are told to depend on each other." : ""));
  // Between names there is nothing to join.
  const joined = levels.filter((l) => levels.filter((o) => o.factor === l.factor).every((o) => Number.isFinite(+o.level)));
  return draw(chartOf(figure), "effects", { heads, joined, levels, bars, middle: main.length ? [{ x: mean(main[0][2].map((part) => part[1])) }] : [] },
    { x: { title: metrics[m].title }, y: { scale: { domain: rows } } },
    `Effects on ${metrics[m].title}: ${levels.map((l) => `${l.factor} ${l.level} ${l.mean}`).join("; ")}`, 24 * rows.length);
}

const MEASURES = { ttft: "TTFT (ms)", itl: "ITL (ms)", tpot: "TPOT (ms)", e2e: "E2E latency (ms)" };
function ecdf() {
  const figure = reveal("ecdf");
  const measure = byId("ecdf-measure").value, tail = byId("ecdf-scale").value === "tail";
  const mine = data.curves[measure].filter(([t]) => passes(t));
  const curves = [];
  for (const [t, valid, count, quantiles] of mine) {
    quantiles.forEach((x, i) => {
      const q = data.probabilities[i];
      if (x === null || (tail && q > 0.999)) return;
      curves.push({ t, x, q: tail ? 1 - q : q, treatment: named(t), valid, colour: colourOf(t),
        what: `${(q * 100).toLocaleString("en-US")} % of ${count.toLocaleString("en-US")} ${measure === "itl" ? "gaps" : "requests"} within ${number(x)} ms${valid ? "" : " (invalid)"}` });
    });
  }
  const x = axis(MEASURES[measure], curves.map((row) => row.x).filter((value) => value > 0));
  // One straggler must not squeeze every curve against the axis.
  const at = (q) => mine.map((curve) => curve[3][data.probabilities.indexOf(q)]).filter((value) => value !== null);
  x.scale = { ...x.scale, domain: [Math.min(...at(0.002)), Math.max(...at(tail ? 0.998 : 0.995))], nice: false };
  const y = tail ? { title: "share of requests above, logarithmic", scale: { type: "log", domain: [0.002, 1] } } : {};
  caption(figure, `One curve per treatment, over the requests of its valid trials in the measured window, up to p99.${tail ? 8 : 5}.`
    + (mine.some((curve) => !curve[1]) ? " Dashed: no valid trial, so invalid ones are drawn." : "") + " Further left is quicker.");
  const positive = x.scale.type === "log" ? curves.filter((row) => row.x > 0) : curves;
  return draw(chartOf(figure), "ecdf", { curves: positive }, { x, y, color: colours() }, `Cumulative distribution of ${MEASURES[measure]} per treatment.`);
}

function servers() {
  const figure = reveal("servers");
  const id = byId("servers-trial").value, trial = trials.find((one) => one.id === id);
  const lines = data.series.of[id];
  const sources = [...new Set(lines.flatMap(([, , ...told]) => told.map(([source]) => source)))];
  const select = byId("servers-source");
  const kept = sources.includes(+select.value) ? +select.value : sources[0];
  fill(select, sources.map((source) => [source, data.series.sources[source].filter(Boolean).join(" (") + (data.series.sources[source][1] ? ")" : "")]), kept);
  const [label, unit] = data.series.sources[kept];
  const series = lines.flatMap(([server, moments, ...told]) => told.filter(([source]) => source === kept).flatMap(([, values]) =>
    values.map((y, i) => ({ server, x: moments[i], y, xs: `${number(moments[i])} s`, ys: withUnit(y, unit) })).filter((row) => row.y !== null)));
  const [from, to] = trial.w;
  caption(figure, `${trialName(trial)}. Shaded: the measured window. Every line is one server.`);
  return draw(chartOf(figure), "servers", { series, window: [{ x: from, x2: to, what: "measured window" }] },
    { x: { title: "seconds from the first scheduled request", scale: { padding: 0, nice: false } }, y: { title: unit ? `${label} (${unit})` : label, scale: { zero: true, padding: 0 } } },
    `${label} of each server over the trial ${trialName(trial)}.`);
}
function showServersOf(id) {
  if (!data.series.of[id] || byId("fig-servers").hidden) return;
  byId("servers-trial").value = id;
  servers();
}

function stepsOf(figure, rows) {
  const total = rows.reduce((sum, row) => sum + row.seconds, 0);
  const roomy = figure.clientWidth > 620;
  const step_totals = [...new Set(rows.map((row) => row.step))].map((step) => {
    const mine = rows.filter((row) => row.step === step);
    const spent = mine.reduce((sum, row) => sum + row.seconds, 0);
    const parts = data.outcomes.map((o) => mine.find((row) => row.outcome === o)).filter(Boolean).map((row) => `${row.count} ${row.outcome}`);
    return { step, seconds: spent, label: `${seconds(spent)}, ${percent(total ? spent / total : 0)}${roomy ? ` (${parts.join(", ")})` : ""}` };
  });
  return draw(chartOf(figure), "steps", { steps: rows, step_totals }, { x: { scale: { padding: roomy ? 0 : 0 } } },
    "Seconds by step: " + step_totals.map((row) => `${row.step} ${row.label}`).join("; "), 30 * step_totals.length);
}
const stepRow = (step, outcome, spent, count) => ({ step, outcome, seconds: spent, count, time: seconds(spent), rank: data.outcomes.indexOf(outcome) });
const steps = () => stepsOf(reveal("steps"), data.steps.map((row) => stepRow(...row)));
