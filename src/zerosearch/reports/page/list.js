"use strict";
/* The list of episodes: filters over an index, and rows that exist only while they are in sight. */

const ROW = 46; // pixels, as in report.css
const browser = { data: null, found: [], at: -1, drawnFrom: -1, drawnTo: -1, open: null };

const FILTERS = [
  ["run", "Run", "select"], ["kind", "Of", "select"], ["step", "Steps", "range"], ["reward", "Reward", "range"], ["searches", "Searches", "range"],
  ["quality", "Pages", "select"], ["stop", "Ended by", "select"], ["error", "Errors", "select"], ["text", "Text", "search"], ["sort", "Order", "select"],
];
const SORTS = {
  "as played": null,
  "lowest reward": (a, b) => a.reward - b.reward || a.place - b.place,
  "highest reward": (a, b) => b.reward - a.reward || a.place - b.place,
  "longest": (a, b) => (b.tokens ?? 0) - (a.tokens ?? 0) || a.place - b.place,
};

function field(name, label, kind) {
  if (kind === "range") {
    const ends = ["from", "to"].map((end) => make("input", { type: "number", step: "any", name: `${name}-${end}`, "aria-label": `${label} ${end}`, placeholder: end }));
    return make("fieldset", {}, make("legend", {}, label), ends);
  }
  const input = kind === "select" ? make("select", { name }) : make("input", { type: "search", name, placeholder: "question, query, page, answer ...", spellcheck: "false" });
  return make("label", { class: `field for-${name}` }, make("span", {}, label), input);
}

/** Fill a select with `values`, [value, label]; what was chosen stays chosen where it is still there. */
function choices(name, values) {
  const select = byId("filters").elements[name], chosen = select.value;
  refill(select, values.map(([value, label]) => make("option", { value }, label)));
  if (values.some(([value]) => String(value) === chosen)) select.value = chosen;
}

function setUpFilters() {
  const form = byId("filters");
  refill(form, FILTERS.map((filter) => field(...filter)), make("button", { type: "reset" }, "Clear"));
  let waiting = 0;
  form.addEventListener("input", () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(filterNow); });
  form.addEventListener("reset", () => requestAnimationFrame(filterNow));
  form.addEventListener("submit", (event) => event.preventDefault());
}

function fillFilters() {
  const { rows, texts, names } = browser.data;
  const seen = (pick) => [...new Set(rows.flatMap(pick))].sort().map((value) => [value, value]);
  choices("run", [["", "all"], ...names.map((name, at) => [at, name])]);
  choices("kind", [["", "all"], ["training", "training"], ["evaluation", "evaluations"]]);
  choices("quality", [["", "any"], ...seen((row) => row.quality), ["none", "none asked for"]]);
  choices("stop", [["", "any"], ...seen((row) => [texts[row.stop]])]);
  choices("error", [["", "any"], ["with", "with"], ["without", "without"], ...seen((row) => (row.error === null ? [] : [texts[row.error]]))]);
  choices("sort", Object.keys(SORTS).map((name) => [name, name]));
}

/** The test that a row must pass, from what the form says. */
function wanted() {
  const form = byId("filters").elements, { texts } = browser.data;
  const value = (name) => form[name].value;
  const tests = [];
  const between = (name, pick) => {
    const from = form[`${name}-from`].valueAsNumber, to = form[`${name}-to`].valueAsNumber;
    if (!Number.isNaN(from)) tests.push((row) => pick(row) !== null && pick(row) >= from);
    if (!Number.isNaN(to)) tests.push((row) => pick(row) !== null && pick(row) <= to);
  };
  if (value("run")) tests.push((row) => row.run === Number(value("run")));
  if (value("kind")) tests.push((row) => (row.step === null) === (value("kind") === "evaluation"));
  between("step", (row) => row.step ?? row.after);
  between("reward", (row) => row.reward);
  between("searches", (row) => row.searches);
  const quality = value("quality"), stop = value("stop"), error = value("error");
  if (quality) tests.push((row) => (quality === "none" ? !row.quality.length : row.quality.includes(quality)));
  if (stop) tests.push((row) => texts[row.stop] === stop);
  if (error === "with" || error === "without") tests.push((row) => (row.error !== null) === (error === "with"));
  else if (error) tests.push((row) => row.error !== null && texts[row.error] === error);
  const words = value("text").toLowerCase().trim();
  if (words) tests.push((row) => row.text.includes(words)); // last: it costs most
  return (row) => tests.every((test) => test(row));
}

function filterNow() {
  if (!browser.data) return;
  const began = performance.now();
  const found = browser.data.rows.filter(wanted());
  const order = SORTS[byId("filters").elements.sort.value];
  browser.found = order ? found.sort(order) : found;
  browser.at = browser.open === null ? -1 : browser.found.indexOf(browser.open);
  browser.drawnFrom = browser.drawnTo = -1;
  byId("rows").style.height = `${ROW * browser.found.length}px`;
  if (browser.at < 0) byId("list").scrollTop = 0;
  drawRows();
  byId("count").textContent = `${browser.found.length.toLocaleString("en-US")} of ${browser.data.rows.length.toLocaleString("en-US")}`;
  byId("episodes").dataset.filtered = (performance.now() - began).toFixed(1);
}

/** Make the rows that are in sight. */
function drawRows() {
  const list = byId("list");
  const from = Math.max(Math.floor(list.scrollTop / ROW) - 4, 0);
  const to = Math.min(Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 4, browser.found.length);
  if (from === browser.drawnFrom && to === browser.drawnTo) return;
  [browser.drawnFrom, browser.drawnTo] = [from, to];
  refill(byId("rows"), browser.found.slice(from, to).map((row, place) => rowElement(row, from + place)));
}

function rowElement(row, at) {
  const { texts, names } = browser.data;
  const good = row.em ? "good" : row.reward > 0 ? "half" : "bad";
  const when = row.step === null ? (row.after === null ? names[row.run] : `eval ${row.after}`) : `step ${row.step}`;
  const made = make("div", { class: "row", role: "option", id: `row-${at}`, "aria-selected": at === browser.at ? "true" : "false", click: () => choose(at) },
    make("span", { class: `badge ${good}` }, shown(row.reward)),
    make("span", { class: "asked" }, make("span", {}, texts[row.q]), make("small", {}, row.answer === null ? "no answer" : `\u2192 ${texts[row.answer]}`)),
    make("span", { class: "meta" }, make("span", { title: names[row.run] }, names.length > 1 ? make("i", { class: `dot ink-${row.run % LIGHT.length}` }) : null, when), make("small", {}, `${row.searches} search${row.searches === 1 ? "" : "es"}`,
      row.quality.map((quality) => make("span", { class: `mark ${quality}`, title: `a page asked for as ${quality}` })), row.error === null ? null : make("b", { class: "bad" }, " error"))));
  made.style.top = `${at * ROW}px`;
  return made;
}

/** Open the episode at place `at` of the list. */
function choose(at, focus = false) {
  const row = browser.found[at];
  if (!row) return;
  browser.at = at;
  browser.drawnFrom = -1;
  const list = byId("list");
  if (at * ROW < list.scrollTop) list.scrollTop = at * ROW;
  if ((at + 1) * ROW > list.scrollTop + list.clientHeight) list.scrollTop = (at + 1) * ROW - list.clientHeight;
  drawRows();
  list.setAttribute("aria-activedescendant", `row-${at}`);
  openEpisode(row);
  if (focus) byId("detail").focus();
}

function openEpisode(row) {
  browser.open = row;
  const { texts } = browser.data;
  const tries = browser.data.rows.filter((other) => other.key === row.key);
  const chips = tries.map((other) => make("button", { type: "button", class: other === row ? "chosen" : "", click: () => openEpisode(other) }, `try ${other.try}: ${shown(other.reward)}`));
  const beside = tries.length > 1 ? make("button", { type: "button", id: "side-by-side", click: () => showBeside(tries) }, `all ${tries.length} side by side`) : null;
  refill(byId("detail"), tries.length > 1 ? make("div", { class: "tries" }, chips, beside) : null, episodeElement(row, texts));
  byId("detail").scrollTop = 0;
  byId("beside").hidden = true;
}

function showBeside(tries) {
  const holder = byId("beside");
  refill(holder, make("div", { class: "head" }, make("h3", {}, `${tries.length} tries at one question, ${browser.data.texts[tries[0].where]}`), make("button", { type: "button", click: () => { holder.hidden = true; } }, "Close")),
    make("dl", {}, questionElements(tries[0], browser.data.texts)),
    make("div", { class: "columns" }, tries.map((row) => episodeElement(row, browser.data.texts, true))));
  holder.hidden = false;
  holder.scrollIntoView({ block: "start" });
}

function setUpList() {
  const list = byId("list");
  list.addEventListener("scroll", drawRows, { passive: true });
  new ResizeObserver(() => { if (browser.data) drawRows(); }).observe(list);
  list.addEventListener("keydown", (event) => {
    const page = Math.max(Math.floor(list.clientHeight / ROW) - 1, 1), last = browser.found.length - 1;
    const to = { ArrowDown: browser.at + 1, ArrowUp: browser.at - 1, PageDown: browser.at + page, PageUp: browser.at - page, Home: 0, End: last }[event.key];
    if (to === undefined && event.key !== "Enter") return;
    event.preventDefault();
    if (event.key === "Enter") choose(browser.at, true);
    else choose(Math.min(Math.max(to, 0), last));
  });
  byId("detail").addEventListener("keydown", (event) => { if (event.key === "Escape") list.focus(); });
}

/** Take in episodes: the first ones, or those of a live run after a step. What is open and chosen stays. */
function takeEpisodes(episodes) {
  const before = browser.open && { key: `${browser.open.key}|${browser.open.try}` };
  browser.data = indexed(episodes);
  browser.open = before ? episodes.rows.find((row) => `${row.key}|${row.try}` === before.key) ?? null : null;
  fillFilters();
  refill(byId("told"), episodes.told.map((text) => make("li", {}, text)));
  filterNow();
}
