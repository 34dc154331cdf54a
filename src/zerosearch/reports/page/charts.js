"use strict";
/* The curves, drawn by uPlot: a line a run or, with bands, a line and a band for runs that differ by their seed only. */

let drawn = [];

/** The mean of each value and up to `width - 1` before it; gaps stay gaps. */
function smooth(values, width) {
  if (width <= 1) return values;
  return values.map((value, at) => {
    if (value === null) return null;
    const near = values.slice(Math.max(0, at + 1 - width), at + 1).filter((v) => v !== null);
    return near.reduce((sum, v) => sum + v, 0) / near.length;
  });
}

/** What is drawn together: a run alone, or all runs of a family. Each has `name`, `runs` and the number of its colour. */
function gathered(runs, bands) {
  const families = new Map();
  for (const run of runs) {
    const key = bands ? `family ${run.family}` : `run ${run.number}`;
    if (!families.has(key)) families.set(key, []);
    families.get(key).push(run);
  }
  return [...families.values()].map((members) => ({
    runs: members,
    number: members[0].number,
    name: members.length > 1 ? `${common(members.map((run) => run.name))} (${members.length} seeds)` : members[0].name,
  }));
}

/** What the names of a family begin with. */
function common(names) {
  let length = 0;
  while (names.every((name) => name.length > length && name[length] === names[0][length])) length++;
  return names[0].slice(0, length).replace(/(-?seed)?[-_ ]*$/, "") || names[0];
}

/** The values of `run` at `xs`, by the steps that it has. */
function aligned(xs, steps, values) {
  const known = new Map(steps.map((step, at) => [step, values[at]]));
  return xs.map((x) => known.get(x) ?? null);
}

/** x values, and of each group its lines: {values, raw, low, high, dots, within}. */
function chartData(chart, groups, width) {
  const points = (run) => (chart.evaluation ? run.evaluations.filter((e) => e[chart.evaluation] !== undefined) : []);
  const xs = new Set();
  for (const run of groups.flatMap((group) => group.runs)) {
    if (run.series[chart.value]) run.steps.forEach((step) => xs.add(step));
    points(run).forEach((e) => xs.add(e.step));
  }
  const at = [...xs].sort((a, b) => a - b);
  const lines = groups.map((group) => {
    const having = group.runs.filter((run) => run.series[chart.value]);
    const raw = having.map((run) => aligned(at, run.steps, run.series[chart.value]));
    const each = having.map((run) => aligned(at, run.steps, smooth(run.series[chart.value], width)));
    const over = (pick) => at.map((_, i) => {
      const here = each.map((values) => values[i]).filter((v) => v !== null);
      return here.length ? pick(here) : null;
    });
    const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;
    const dots = at.map((x) => {
      const here = group.runs.flatMap(points).filter((e) => e.step === x);
      return here.length ? mean(here.map((e) => e[chart.evaluation])) : null;
    });
    const within = at.map((x) => { // of one run its interval, of several what their evaluations lie between
      const here = group.runs.flatMap(points).filter((e) => e.step === x);
      if (here.length === 1) return here[0][`${chart.evaluation}_within`] || null;
      const values = here.map((e) => e[chart.evaluation]);
      return here.length ? [Math.min(...values), Math.max(...values)] : null;
    });
    const many = each.length > 1;
    return {
      group, dots, within,
      values: over(mean),
      raw: width > 1 && !many && raw.length ? raw[0] : null,
      low: many ? over((here) => Math.min(...here)) : null,
      high: many ? over((here) => Math.max(...here)) : null,
    };
  });
  return { xs: at, lines };
}

/** The series and bands of uPlot for these lines. */
function drawnSeries(lines, chart) {
  const series = [{}], bands = [], columns = [];
  const add = (values, options) => { columns.push(values); series.push({ spanGaps: true, ...options }); };
  for (const line of lines) {
    const ink = colour(line.group.number);
    if (line.low) {
      add(line.high, { stroke: "transparent", points: { show: false }, width: 0 });
      add(line.low, { stroke: "transparent", points: { show: false }, width: 0 });
      bands.push({ series: [series.length - 2, series.length - 1], fill: faint(ink, 0.22) });
    }
    if (line.raw) add(line.raw, { stroke: faint(ink, 0.3), width: 1, points: { show: false } });
    const few = line.values.filter((v) => v !== null).length < 20;
    add(line.values, { stroke: ink, width: 2, points: { show: few, size: 5, fill: ink } });
    if (chart.evaluation) {
      add(line.dots, { stroke: ink, paths: () => null, points: { show: true, size: 9, width: 2, stroke: ink, fill: css("--card") } });
    }
  }
  return { series, bands, columns };
}

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Error bars of the evaluations. */
function drawIntervals(plot, xs, lines) {
  const pen = plot.ctx, ratio = devicePixelRatio || 1;
  for (const line of lines) {
    pen.save();
    pen.strokeStyle = colour(line.group.number);
    pen.lineWidth = 1.5 * ratio;
    line.within.forEach((within, at) => {
      if (!within) return;
      const x = plot.valToPos(xs[at], "x", true);
      const [low, high] = within.map((value) => plot.valToPos(value, "y", true));
      pen.beginPath();
      pen.moveTo(x, low); pen.lineTo(x, high);
      for (const y of [low, high]) { pen.moveTo(x - 4 * ratio, y); pen.lineTo(x + 4 * ratio, y); }
      pen.stroke();
    });
    pen.restore();
  }
}

/** The lowest and highest value to be seen: intervals and bands too. */
function span(lines, form) {
  const all = lines.flatMap((l) => [...l.values, ...l.dots, ...(l.low || []), ...(l.high || []), ...(l.raw || []), ...l.within.flat()]);
  const seen = all.filter((value) => value !== null && value !== undefined);
  let low = Math.min(...seen), high = Math.max(...seen);
  if (low === high) { low = Math.min(low, 0); high = Math.max(high, 0) || 1; }
  const room = (high - low) * 0.08;
  const bottom = low >= 0 && low - room < 0 ? -room / 4 : low - room;
  return [bottom, form === "share" ? Math.min(high + room, 1.03) : high + room];
}

/** One chart as a figure; null where no run has a value for it. */
function chartFigure(chart, groups, width) {
  const { xs, lines } = chartData(chart, groups, width);
  const having = lines.filter((line) => [...line.values, ...line.dots].some((value) => value !== null));
  if (!having.length) return null;
  const id = `meaning-${chart.value.replace(/\W/g, "-")}`;
  const meaning = make("span", { class: "meaning", role: "tooltip", id }, chart.meaning);
  const last = having.slice(0, 4).map((line) => {
    const [value, judged] = [line.values, line.dots].map((values) => [...values].reverse().find((v) => v !== null));
    const said = [value === undefined ? null : shown(value, chart.form), judged === undefined ? null : `\u25CB ${shown(judged, chart.form)}`];
    return make("span", { class: `last ink-${line.group.number % LIGHT.length}`, title: "the last value; \u25CB the last evaluation" }, said.filter(Boolean).join(" "));
  });
  const title = make("button", { type: "button", class: "asks", "aria-describedby": id }, chart.title, make("i", { "aria-hidden": "true" }, "?"));
  const tip = make("div", { class: "tip", hidden: true });
  const canvas = make("div", { class: "plot", tabindex: 0, role: "img", "aria-label": `${chart.title}: ${chart.meaning}` });
  const figure = make("figure", { "data-chart": chart.value }, make("figcaption", {}, title, meaning, make("span", { class: "lasts" }, last)), canvas, tip);
  figure.draw = () => drawChart(chart, xs, having, canvas, tip);
  return figure;
}

function drawChart(chart, xs, lines, canvas, tip) {
  const { series, bands, columns } = drawnSeries(lines, chart);
  const axis = { stroke: css("--quiet"), grid: { stroke: css("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  const pad = Math.max((xs[xs.length - 1] - xs[0]) * 0.03, xs.length === 1 ? 1 : 0.05);
  const plot = new uPlot({
    width: canvas.clientWidth || 300, height: 170, legend: { show: false }, bands,
    scales: { x: { time: false, range: () => [xs[0] - pad, xs[xs.length - 1] + pad] }, y: { range: () => span(lines, chart.form) } },
    cursor: { sync: { key: "steps", setSeries: false }, drag: { x: false, y: false }, points: { size: 7 } },
    axes: [{ ...axis, incrs: [1, 2, 5].flatMap((n) => [0, 1, 2, 3, 4, 5].map((p) => n * 10 ** p)).sort((a, b) => a - b), size: 26 }, { ...axis, size: 50, values: (u, splits) => marks(splits, chart.form) }],
    series,
    hooks: { draw: [(u) => drawIntervals(u, xs, lines)], setCursor: [(u) => tell(u, chart, xs, lines, tip, canvas)] },
  }, [xs, ...columns], canvas);
  canvas.onkeydown = (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const at = Math.min(Math.max((plot.cursor.idx ?? (by > 0 ? -1 : xs.length)) + by, 0), xs.length - 1);
    plot.setCursor({ left: plot.valToPos(xs[at], "x"), top: 80 });
  };
  canvas.onblur = () => plot.setCursor({ left: -10, top: -10 });
  drawn.push({ plot, canvas });
}

/** The values under the cursor, in the chart that is pointed at or has the focus. */
function tell(plot, chart, xs, lines, tip, canvas) {
  const at = plot.cursor.idx;
  const mine = canvas.matches(":hover") || canvas === document.activeElement;
  tip.hidden = at === null || at === undefined || !mine;
  if (tip.hidden) return;
  tip.classList.toggle("left", plot.cursor.left > plot.over.clientWidth / 2);
  const rows = lines.flatMap((line) => {
    const ink = `ink-${line.group.number % LIGHT.length}`;
    const said = [];
    if (line.values[at] !== null) {
      const band = line.low ? ` (${shown(line.low[at], chart.form)} to ${shown(line.high[at], chart.form)})` : "";
      said.push([line.group.name, shown(line.values[at], chart.form) + band]);
    }
    if (line.dots[at] !== null) {
      const within = line.within[at];
      const told = within && within[0] !== within[1] ? ` [${within.map((v) => shown(v, chart.form)).join(", ")}]` : "";
      said.push([`${line.group.name}, evaluated`, shown(line.dots[at], chart.form) + told]);
    }
    return said.map(([name, value]) => make("div", {}, make("b", { class: ink }, "\u25CF "), `${name} `, make("b", {}, value)));
  });
  refill(tip, make("div", { class: "note" }, xs[at] === 0 ? "before training" : `step ${xs[at]}`), ...rows);
}

/** Draw all charts anew. */
function drawCharts(summary, state) {
  for (const { plot } of drawn) plot.destroy();
  drawn = [];
  const runs = summary.runs.filter((run) => !state.hidden.has(run.name));
  const groups = gathered(runs, state.bands);
  const figures = summary.charts.map((chart) => [chart, chartFigure(chart, groups, state.width)]);
  refill(byId("charts"), figures.map(([, figure]) => figure));
  for (const [, figure] of figures) if (figure) figure.draw();
  const lacking = figures.filter(([, figure]) => !figure).map(([chart]) => chart.title);
  const notes = [];
  if (runs.length && lacking.length === figures.length) notes.push("No step has ended yet.");
  else if (runs.length && lacking.length) notes.push(`Not measured in these runs: ${lacking.join(", ")}.`);
  if (groups.some((group) => group.runs.length > 1)) notes.push("Bands, and the bars of their evaluations, go from the lowest seed to the highest; lines and dots are means.");
  byId("unmeasured").textContent = notes.join(" ");
  return groups;
}

new ResizeObserver(() => {
  for (const { plot, canvas } of drawn) {
    if (canvas.clientWidth && Math.abs(canvas.clientWidth - plot.width) > 1) plot.setSize({ width: canvas.clientWidth, height: 170 });
  }
}).observe(byId("charts"));
