// The page: the verdict, the likely mistake, and the cases. What is open and what is filtered is its only state.

const STATUSES = { fail: "fail", error: "error", xfail: "expected to fail", skip: "skipped", pass: "pass" };
const wrong = report.counts.fail + report.counts.error > 0;
const state = {
  statuses: new Set(wrong ? ["fail", "error", "xfail"] : Object.keys(STATUSES)), suite: "", text: "", open: named(),
};

/** The case that the address names. */
function named() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return ""; // what stands there is no address of this page
  }
}

function header() {
  const { counts, versions } = report;
  const facts = [
    count(report.cases.length, "case"),
    ...Object.entries(STATUSES).filter(([status]) => counts[status]).map(([status, word]) => `${counts[status]} ${word}`),
    `limit: ${report.limit} times the float32 rounding error of a right implementation`,
    `${report.seconds.toFixed(report.seconds < 10 ? 1 : 0)} s`,
    `deberta-ref ${versions.deberta_ref}, NumPy ${versions.numpy}, Python ${versions.python}`,
  ];
  const colour = report.conforms ? "good" : report.undecided ? "odd" : "bad";
  return h("header", {},
    h("p", { class: "kind" }, "deberta-ref check"),
    h("h1", {}, h("span", { class: "port" }, report.port), " ", h("span", { class: colour }, report.conclusion)),
    report.reasons.length > 0 && h("ul", { class: "reasons" }, report.reasons.map((reason) => h("li", {}, reason))),
    h("p", { class: "facts" }, facts.join(" · ")));
}

function diagnosis() {
  if (!report.diagnosis.length && !report.common.length) return null;
  const fits = report.diagnosis.length > 0 && scoreOf(report.diagnosis[0]) <= report.limit;
  return h("section", {},
    report.diagnosis.length > 0 && [
      h("h2", {}, fits ? "The likely mistake" : "The nearest known mistakes"),
      !fits && h("p", { class: "facts" }, "None of them reproduces your output."),
      h("ol", { class: "matches" }, report.diagnosis.slice(0, 5).map(match)),
    ],
    report.common.length > 0 && [
      h("h2", {}, report.conforms ? "Remarks" : "What the failing cases have in common"),
      h("ul", {}, report.common.map((sentence) => h("li", {}, sentence))),
    ]);
}

function match(entry) {
  const score = scoreOf(entry), colour = scoreColour(score);
  return h("li", {},
    h("p", {}, h("code", {}, entry.mutant), " ",
      h("span", { class: "score", style: { background: css(colour), color: inkOn(colour) } }, readable(score))),
    h("p", {}, entry.sentence),
    h("p", {}, `It ${entry.closeness}.`),
    h("p", { class: "facts" }, `${entry.origin}.`));
}

function scores() {
  const without = report.cases.filter((entry) => scoreOf(entry) === null).length;
  if (without === report.cases.length) return null;
  return h("section", {},
    h("h2", {}, "Scores of all cases"),
    scoresHistogram(report.cases),
    h("p", { class: "facts" },
      `A score of ${report.limit}, the limit, is an error of ${report.limit} times the float32 rounding error of a `,
      "right implementation. A right port scores about 1. ",
      without > 0 && `${count(without, "case")} without a score.`));
}

function draw() {
  const opened = report.cases.find((entry) => entry.id === state.open);
  if (opened) state.statuses.add(opened.status);
  document.getElementById("report").replaceChildren(
    header(),
    h("div", { class: "columns" }, diagnosis(), scores()),
    evidence() ?? "",
    h("section", {}, h("h2", {}, "Cases"), filters(), h("div", { id: "cases" })),
    h("footer", {}, h("p", { class: "facts" },
      "The chapters are in spec/ of deberta_ref; --json writes all of this for programs.")));
  table();
}

addEventListener("hashchange", () => {
  state.open = named();
  draw();
});
dark.addEventListener("change", draw);
draw();
