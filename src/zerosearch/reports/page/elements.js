"use strict";
/* Elements. Text from models, pages and settings becomes text nodes here, and nothing else: no HTML is ever parsed. */

/** `make("p", { class: "note" }, "text", element)`: functions become listeners, null children are left out. */
function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(name, value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child === null || child === undefined) continue;
    made.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return made;
}

const byId = (id) => document.getElementById(id);

function refill(holder, ...children) {
  holder.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
}

/** A number as a chart of this form shows it. */
function shown(value, form = "number") {
  if (value === null || value === undefined || Number.isNaN(value)) return "-";
  if (form === "share") return `${(100 * value).toFixed(value > 0 && value < 0.1 ? 1 : 0)} %`;
  if (form === "usd") return `$${value.toFixed(value > 0 && value < 0.01 ? 4 : 2)}`;
  const size = Math.abs(value);
  if (size >= 1000) return value.toLocaleString("en-US", { maximumFractionDigits: 0 });
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  if (size === 0) return "0";
  return size >= 0.01 ? value.toFixed(size >= 1 ? 2 : 3) : value.toExponential(1);
}

/** The numbers beside an axis: all with as many decimals as their distance needs. */
function marks(values, form = "number") {
  const scale = form === "share" ? 100 : 1;
  const apart = values.length > 1 ? scale * Math.abs(values[1] - values[0]) : 0;
  const keeps = (written, value) => Math.abs(Number(written) - value) < 1e-6 * apart;
  const digits = [0, 1, 2, 3].find((d) => keeps(apart.toFixed(d), apart));
  if (digits === undefined && form === "number") {
    const tiny = [1, 2, 3].find((d) => values.every((value) => keeps(value.toExponential(d), value)));
    if (tiny !== undefined) return values.map((value) => (value === 0 ? "0" : value.toExponential(tiny)));
  }
  if (digits === undefined || form === "usd") return values.map((value) => shown(value, form));
  const told = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return values.map((value) => (scale * value || 0).toLocaleString("en-US", told) + (form === "share" ? " %" : ""));
}

/** `1-3, 7`: steps that follow each other are put together. */
function ranges(steps) {
  const found = [];
  for (const step of [...new Set(steps)].sort((a, b) => a - b)) {
    const last = found[found.length - 1];
    if (last && last[1] === step - 1) last[1] = step;
    else found.push([step, step]);
  }
  return found.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(", ");
}

const LIGHT = ["#2563c9", "#c2410c", "#15803d", "#a21caf", "#0e7490", "#a16207", "#be123c", "#4d4d8f"];
const DARK = ["#7db2ff", "#ff9d66", "#6ddb8c", "#e58bf0", "#5fd3e6", "#e8c25a", "#ff8ba0", "#b3b0ff"];

function dark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function colour(number) {
  const palette = dark() ? DARK : LIGHT;
  return palette[number % palette.length];
}

/** `colour` with `share` of its strength: palettes are #rrggbb. */
function faint(hex, share) {
  return hex + Math.round(255 * share).toString(16).padStart(2, "0");
}
