// Numbers as everywhere on the page: three significant digits, thousands set apart.
function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "\u2013";
  const size = value === 0 ? 2 : Math.floor(Math.log10(Math.abs(value)));
  const digits = Math.max(0, Math.min(6, 2 - size));
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
const withUnit = (value, unit) => number(value) + (unit && value !== null ? " " + unit : "");
const interval = (value, half, unit) => number(value) + (half === null || value === null ? "" : ` \u00b1 ${number(half)}`) + (unit && value !== null ? " " + unit : "");
const seconds = (value) => value < 1 ? `${Math.round(1000 * value)} ms` : `${number(value)} s`;
const percent = (share) => share > 0 && share < 0.01 ? "under 1 %" : `${Math.round(100 * share)} %`;
const chance = (p) => p === null ? "not judged" : p < 0.001 ? "p < 0.001" : `p = ${p.toPrecision(2)}`;
const mean = (values) => values.length ? values.reduce((a, b) => a + b, 0) / values.length : null;
const extent = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
