// The data embedded once, what the reader chose, and what follows from both.
const data = JSON.parse(document.getElementById("data").textContent);
const { factors, metrics, treatments, trials, varied, means, halves } = data;
const byId = (id) => document.getElementById(id);
const choice = {
  colour: null, // place of the factor that colours; null for none
  hidden: factors.map(() => new Set()), // levels that the filter leaves out
  lit: -1, // treatment that the reader points at
  pinned: -1, // treatment that stays lit
};
const level = (t, factor) => factors[factor].levels[treatments[t][factor]];
const named = (t, factorsToo = varied) =>
  factorsToo.map((i) => `${factors[i].name} ${level(t, i)}`).join(", ") || "the only treatment";
const colourOf = (t) => choice.colour === null ? "all" : level(t, choice.colour);
const passes = (t) => treatments[t].every((place, i) => !choice.hidden[i].has(place));
const places = treatments.map((_, t) => t);
const shown = () => places.filter(passes);
const shownTrials = () => trials.filter((trial) => passes(trial.t));
const deployments = new Set(trials.map((trial) => trial.r[0])).size > 1;
const replicateOf = (trial) => [...(deployments ? [trial.r[0]] : []), trial.c ? `control ${trial.c}` : trial.r[1]].join("/");
const repeated = trials.length > treatments.length;
const trialName = (trial) => named(trial.t) + (repeated ? `, ${trial.c ? "" : "replicate "}${replicateOf(trial)}` : "");
const told = metrics.map((_, i) => i).filter((i) => trials.some((trial) => trial.m[i] !== null));
const metricIndex = (name) => metrics.findIndex((metric) => metric.name === name);
const first = (names, among = told) => names.map(metricIndex).find((i) => among.includes(i)) ?? among[0];
const text = (value, m) => withUnit(value, metrics[m].unit);
// A treatment's configuration: its levels without the load; what a line of a figure follows.
const loadFactors = data.loads ? data.loads.factors : [];
const configuration = (t) => treatments[t].filter((_, i) => !loadFactors.includes(i)).join("/");
const configurationName = (t) => named(t, varied.filter((i) => !loadFactors.includes(i)));

// Milliseconds of one trial's requests, unpacked from the codes that the page carries.
function requestsOf(id) {
  const found = data.requests.of[id];
  if (!found) return null;
  const [total, count, packed, servers] = found;
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const codes = new Uint16Array(bytes.buffer, 0, 4 * count);
  const { unit, steps, absent } = data.requests;
  const decode = (code) => code === absent ? null : unit * Math.expm1(code / steps);
  const rows = Array.from({ length: count }, (_, i) => ({
    scheduled: decode(codes[i]) / 1000, ttft: decode(codes[count + i]), tpot: decode(codes[2 * count + i]), e2e: decode(codes[3 * count + i]),
    phase: data.requests.phases[bytes[8 * count + i] & 3], failed: bytes[8 * count + i] >= 4, server: servers[bytes[9 * count + i]] || "not told",
  }));
  return { total, rows };
}
