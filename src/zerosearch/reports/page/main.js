"use strict";
/* Begins the page, and keeps a live one up to date. */

const state = { hidden: new Set(), bands: true, width: 1 };
let summary = null;
let troubles = [];

function redraw() {
  const groups = drawCharts(summary, state);
  showRuns(summary, state, groups, redraw);
}

function takeSummary(fresh) {
  summary = fresh;
  summary.runs.forEach((run, number) => { run.number = number; });
  const families = summary.runs.map((run) => run.family);
  byId("bands-control").hidden = new Set(families).size === families.length;
  byId("curves").hidden = !summary.runs.length;
  showAlarms(summary, troubles);
  showTables(summary);
  redraw();
}

function setUpControls() {
  byId("smoothing").addEventListener("input", (event) => {
    state.width = Number(event.target.value);
    byId("smoothed").textContent = state.width > 1 ? `${state.width} steps` : "off";
    redraw();
  });
  byId("bands").addEventListener("change", (event) => { state.bands = event.target.checked; redraw(); });
  byId("theme").addEventListener("click", () => { document.documentElement.dataset.theme = dark() ? "light" : "dark"; redraw(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => summary && redraw());
}

function showEpisodes(episodes) {
  takeEpisodes(episodes);
  troubles = episodes.problems;
  showAlarms(summary, troubles);
}

/** Ask the server every two seconds whether a file has changed, and take in what has. */
async function watch(known) {
  let last = known;
  for (;;) {
    try {
      const now = await (await fetch("/state", { cache: "no-store" })).text();
      if (now !== last) {
        takeSummary(await (await fetch("/summary", { cache: "no-store" })).json());
        showEpisodes(await (await fetch("/episodes", { cache: "no-store" })).json());
        last = now;
      }
      byId("live").textContent = "live";
      byId("live").className = "on";
    } catch (error) {
      byId("live").textContent = "the run's report is no longer served";
      byId("live").className = "off";
    }
    await new Promise((done) => setTimeout(done, 2000));
  }
}

async function begin() {
  setUpControls();
  setUpFilters();
  setUpList();
  takeSummary(await unpacked("summary"));
  if (document.documentElement.hasAttribute("data-live")) return watch("");
  await new Promise((done) => setTimeout(done, 0)); // the curves are seen first
  showEpisodes(await unpacked("episodes"));
  document.documentElement.dataset.ready = performance.now().toFixed(0);
}

begin().catch((error) => {
  byId("alarms").replaceChildren(make("div", { class: "alarm", role: "alert" }, `The report could not be shown: ${error.message}`));
  throw error;
});
