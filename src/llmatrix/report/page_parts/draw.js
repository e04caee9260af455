// Every picture is drawn from its checked document; views know the treatment that is pointed at.
const views = new Map();
async function draw(place, chart, datasets, changes, description, height) {
  const spec = structuredClone(data.charts[chart]);
  if (height) spec.height = height;
  // A layer without rows would have scales without an extent.
  spec.layer = spec.layer.filter((layer) => !layer.data || datasets[layer.data.name].length);
  spec.datasets = { ...spec.datasets, ...datasets };
  spec.description = description;
  for (const layer of spec.layer) {
    for (const [channel, change] of Object.entries(changes)) {
      const encoding = layer.encoding?.[channel];
      if (encoding && !("value" in encoding)) merge(encoding, change);
    }
  }
  const old = views.get(place);
  place.setAttribute("aria-label", description);
  const { view, finalize } = await vegaEmbed(place, spec, { renderer: "svg", actions: false, ast: false });
  old?.finalize();
  views.set(place, { view, finalize });
  view.addEventListener("mouseover", (_, item) => item?.datum?.t !== undefined && point(item.datum.t));
  view.addEventListener("mouseout", (_, item) => item?.datum?.t !== undefined && point(-1));
  view.addEventListener("click", (_, item) => {
    if (item?.datum?.trial) openTrial(item.datum.trial);
    else if (item?.datum?.t !== undefined) pin(item.datum.t);
  });
  if (lit() >= 0) await view.signal("lit", lit()).runAsync();
}
function merge(target, change) {
  for (const [key, value] of Object.entries(change)) {
    const both = value && target[key] && typeof value === "object" && typeof target[key] === "object" && !Array.isArray(value);
    if (both) merge(target[key], value);
    else if (value === undefined) delete target[key];
    else target[key] = value;
  }
}

const lit = () => choice.lit >= 0 ? choice.lit : choice.pinned;
let waiting = 0;
function point(t) {
  choice.lit = t;
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(() => {
    for (const { view } of views.values()) view.signal("lit", lit()).runAsync();
    for (const row of document.querySelectorAll("tr[data-t]")) row.classList.toggle("lit", +row.dataset.t === lit());
  });
}
function pin(t) {
  choice.pinned = choice.pinned === t ? -1 : t;
  const own = trials.find((trial) => trial.t === choice.pinned && data.series.of[trial.id]);
  if (own) showServersOf(own.id);
  point(-1);
}

// A logarithmic axis where values span more than a factor of twenty, and says so.
// Its ends are those of the values, so that a wide interval does not squeeze what was measured.
function axis(title, values) {
  const [low, high] = extent(values);
  if (!(low <= high)) return { title };
  const wide = low > 0 && high / low > 20;
  const room = wide ? 0 : 0.04 * (high - low || Math.abs(high) || 1);
  const domain = [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
  // A nice logarithmic domain reaches to the next power of ten, mostly empty.
  const scale = wide ? { type: "log", nice: false, zero: undefined } : { padding: low >= 0 && low - room <= 0 ? 0 : undefined };
  // Where values differ by little, three digits would write the same number at every tick.
  const fine = high - low < 0.03 * Math.abs(high) ? { axis: { format: ",.5~r" } } : {};
  return { title: wide ? `${title}, logarithmic` : title, scale: { ...scale, domain }, ...fine };
}
// Levels that are numbers are a scale from light to strong; names are told apart by hue.
function colours(legend = true) {
  if (choice.colour === null) return { legend: null };
  const { name, levels } = factors[choice.colour];
  const numeric = levels.length > 2 && levels.every((l) => l !== "" && Number.isFinite(+l));
  const range = levels.map((_, i) => `color-mix(in oklab, var(--ramp-high) ${Math.round(100 * i / (levels.length - 1))}%, var(--ramp-low))`);
  return { title: name, scale: { domain: levels, ...(numeric ? { range } : {}) }, ...(legend ? {} : { legend: null }) };
}
const colourRank = (label) => choice.colour === null ? 0 : factors[choice.colour].levels.indexOf(label);

const caption = (figure, words) => { figure.querySelector("figcaption").textContent = words; };
function fill(select, options, chosen) {
  select.replaceChildren(...options.map(([value, label]) => new Option(label, value, false, String(value) === String(chosen))));
}
function reveal(name) {
  const figure = byId(`fig-${name}`);
  figure.hidden = false; // a hidden figure has no width
  return figure;
}
const chartOf = (figure) => figure.querySelector(".chart");
const lineRows = (rows) => new Set(rows.map((row) => row.line)).size < rows.length ? rows : [];
