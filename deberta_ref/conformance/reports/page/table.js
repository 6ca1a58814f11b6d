// The cases, suite by suite, with filters; a case that is chosen opens below its row.

const wanted = (entry) => state.statuses.has(entry.status) && (!state.suite || entry.suite === state.suite) &&
  `${entry.id} ${entry.first_tap ?? ""}`.toLowerCase().includes(state.text.toLowerCase());

function filters() {
  const chip = (status) => h("button", {
    type: "button", class: `chip ${status}`, "aria-pressed": String(state.statuses.has(status)),
    onclick: (event) => {
      if (!state.statuses.delete(status)) state.statuses.add(status);
      event.currentTarget.setAttribute("aria-pressed", String(state.statuses.has(status)));
      table();
    },
  }, h("i", {}), `${STATUSES[status]} ${report.counts[status]}`);
  const suite = (name) => h("option", { value: name, selected: name === state.suite }, name || "all suites");
  const found = Object.keys(STATUSES).filter((status) => report.counts[status]);
  const chooseSuite = (event) => {
    state.suite = event.target.value;
    table();
  };
  const search = (event) => {
    state.text = event.target.value;
    table();
  };
  return h("div", { class: "filters" },
    h("div", { role: "group", "aria-label": "Statuses shown" }, found.map(chip)),
    h("select", { "aria-label": "Suite", onchange: chooseSuite },
      ["", ...new Set(report.cases.map((entry) => entry.suite))].map(suite)),
    h("input", { type: "search", placeholder: "case or tap", "aria-label": "Case or tap", value: state.text,
      oninput: search }));
}

/** Draws the table anew. */
function table() {
  const shown = report.cases.filter(wanted);
  const heading = (word) => h("th", { scope: "col" }, word);
  document.getElementById("cases").replaceChildren(
    h("table", { class: "cases" },
      h("thead", {}, h("tr", {}, ["case", "status", "score", "", "first over the limit"].map(heading))),
      [...new Set(shown.map((entry) => entry.suite))].map((name) => suite(name, shown))),
    h("p", { class: "facts" },
      shown.length < report.cases.length ? `${shown.length} of ${count(report.cases.length, "case")} shown.` : ""));
}

function suite(name, shown) {
  const judged = report.cases.filter((entry) => entry.suite === name && entry.status !== "skip");
  const passed = judged.filter((entry) => entry.status === "pass").length;
  return h("tbody", {},
    h("tr", { class: "suite" }, h("th", { colspan: 5, scope: "rowgroup" },
      h("b", {}, name), ` ${report.suites[name] ?? ""} `, h("span", {}, judged.length > 0 && `${passed} of ${judged.length} pass`))),
    shown.filter((entry) => entry.suite === name).map(row));
}

function row(entry) {
  const open = entry.id === state.open, score = scoreOf(entry), name = entry.id.replace(`${entry.suite}/`, "");
  return [
    h("tr", { class: `case ${entry.status}${open ? " open" : ""}`, id: entry.id, onclick: () => choose(entry.id) },
      h("th", { scope: "row" }, h("button", { type: "button", "aria-expanded": String(open) }, name)),
      h("td", { class: "status" }, h("i", {}), STATUSES[entry.status]),
      h("td", { class: "number" }, readable(score)),
      h("td", { class: "track" }, track(score)),
      h("td", { class: "tap" }, entry.first_tap ? h("code", {}, entry.first_tap) : entry.notes[0] ?? "")),
    open && h("tr", { class: "opened" }, h("td", { colspan: 5 }, details(entry))),
  ];
}

const farthest = Math.max(100, ...report.cases.map((entry) => entry.score ?? 0));

/** Where a score stands between a hundredth and the largest score of all. */
function track(score) {
  if (score === null) return null;
  const log = (x) => Math.log10(Math.min(Math.max(x, 0.01), farthest)) + 2;
  const place = (x) => `${(100 * log(x)) / log(farthest)}%`;
  return h("div", { "aria-hidden": "true" },
    h("span", { class: "limit", style: { left: place(report.limit) } }),
    h("span", { class: score > report.limit ? "dot over" : "dot", style: { left: place(score) } }));
}

/** Opens a case, or closes it. */
function choose(id) {
  state.open = state.open === id ? "" : id;
  history.replaceState(null, "", state.open ? `#${encodeURI(id)}` : location.pathname + location.search);
  table();
  const chosen = document.getElementById(id);
  chosen.querySelector("button").focus({ preventScroll: true });
  if (!state.open) return;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  chosen.scrollIntoView({ block: "start", behavior: still ? "auto" : "smooth" });
}
