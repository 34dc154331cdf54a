"use strict";
/* What stands around the curves: alarms, runs, tables, bills. */

function tableElement(table) {
  const words = table.heads.map((_, at) => at < table.names || table.lines.some((line) => /[a-z]{2}/i.test(line[at])));
  const head = table.heads.length ? make("thead", {}, make("tr", {}, table.heads.map((text, at) => make("th", { scope: "col", class: words[at] ? "words" : null }, text)))) : null;
  const rows = table.lines.map((line) => make("tr", {}, line.map((cell, at) => make(at < table.names ? "th" : "td", at < table.names ? { scope: "row" } : { class: words[at] ? "words" : null }, cell))));
  const body = table.lines.length ? make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": table.title }, make("table", {}, head, make("tbody", {}, rows))) : null;
  return make("div", { class: "table" }, table.title ? make("h3", {}, table.title) : null, body, table.notes.map((note) => make("p", { class: "note" }, note)));
}

/** A test between two sides is folded: its verdict is what one reads first. */
function testElement(table) {
  const [said, ...more] = table.notes;
  return make("details", { class: "table" }, make("summary", {}, make("b", {}, table.title), " ", make("span", { class: "note" }, said)),
    tableElement({ ...table, title: "", notes: more }));
}

function showAlarms(summary, more) {
  const alarms = summary.runs.flatMap((run) => run.alarms.map((alarm) => make("li", {},
    make("b", {}, run.name), ` ${alarm.last}`, make("span", { class: "note" }, ` step${alarm.steps.length > 1 ? "s" : ""} ${ranges(alarm.steps)}`))));
  const problems = [...summary.problems, ...more].map((text) => make("li", {}, make("b", {}, "not shown "), text));
  const found = [...alarms, ...problems];
  refill(byId("alarms"), found.length
    ? make("div", { class: "alarm", role: "alert" }, make("h2", {}, `${found.length} alarm${found.length > 1 ? "s" : ""}`), make("ul", {}, found))
    : summary.runs.length ? make("p", { class: "calm" }, "No alarms.") : null);
}

/** A chip a run: what it is, and whether its curve is drawn. */
function showRuns(summary, state, groups, changed) {
  const colours = new Map(groups.flatMap((group) => group.runs.map((run) => [run.name, group.number])));
  refill(byId("runs"), summary.runs.map((run) => {
    const at = run.steps.length ? run.steps[run.steps.length - 1] : 0;
    const number = colours.get(run.name) ?? run.number;
    const box = make("input", { type: "checkbox", checked: !state.hidden.has(run.name), change: () => {
      if (state.hidden.has(run.name)) state.hidden.delete(run.name);
      else state.hidden.add(run.name);
      changed();
    } });
    const facts = run.facts.map(([name, value]) => `${name}: ${value}`).join("\n");
    return make("label", { class: "run", title: `${run.folder}\n${facts}` }, box,
      make("span", { class: `dot ink-${number % LIGHT.length}` }), make("b", {}, run.name),
      make("span", { class: "note" }, run.of ? `step ${at} of ${run.of}` : `step ${at}`),
      make("span", { class: "note facts" }, run.facts.filter(([name]) => name !== "seed").map(([, value]) => value).join(" · ")));
  }));
}

function showTables(summary) {
  refill(byId("tables"), summary.tables.length
    ? summary.tables.map((table) => (/ against /.test(table.title) ? testElement(table) : tableElement(table)))
    : make("p", { class: "note" }, "No evaluation yet."));
  byId("fidelity").hidden = !summary.fidelity.length;
  refill(byId("fidelities"), summary.fidelity.map(tableElement));
  const bills = summary.runs.filter((run) => run.bill).map((run) => tableElement({
    title: run.bill.title, heads: ["", "searches", "how", "USD"], lines: run.bill.lines, names: 1, notes: run.bill.notes,
  }));
  byId("bill").hidden = !bills.length;
  refill(byId("bills"), bills);
  const names = summary.runs.map((run) => run.name);
  byId("title").textContent = (names.length ? names : summary.targets).join(", ");
  byId("made").textContent = `Made ${summary.made} by zerosearch ${summary.version}. Charts: uPlot (MIT).`;
}
