// What these cases say of every known mistake, in the precision that the port is judged in.

const STATES = {
  has: ["It has", "Each stands against the port, however small its effect, unless --accept names it."],
  undecided: ["Undecided", "These cases cannot tell whether the port makes these."],
  excluded: ["Excluded", "The port does not make these."],
};
const FEW = 5; // so many are shown without being asked for
const unfolded = {}; // which states are shown, by the reader's choice

/** The mistakes that the port has, those that it may have, and those that it does not. */
function evidence() {
  const all = report.evidence, found = (state) => all.filter((finding) => finding.state === state);
  if (!all.length) return null;
  const [has, undecided, excluded] = Object.keys(STATES).map((state) => found(state).length);
  const nothing = undecided === all.length;
  return h("section", { class: "evidence" },
    h("h2", {}, `What these cases say of ${count(all.length, "known mistake")}, in ${report.precision}`),
    h("p", {}, nothing ? "Nothing can be said: no known mistake explains the error of this port."
      : `The port has ${has || "none"} of them; ${excluded} are excluded, and ${undecided} undecided.`),
    h("p", { class: "facts" }, "They are looked for in the errors of all cases together, even where they are smaller than ",
      "rounding errors. σ counts the standard deviations of right ports that decide. The effect of a mistake in these ",
      `cases is a root mean square, in multiples of the ${report.precision} rounding error.`),
    Object.keys(STATES).map((state) => group(state, found(state))));
}

function group(state, findings) {
  if (!findings.length) return null;
  const [word, sentence] = STATES[state];
  return h("details", {
    class: state, open: unfolded[state] ?? (state === "has" || findings.length <= FEW),
    ontoggle: (event) => { unfolded[state] = event.currentTarget.open; },
  },
  h("summary", {}, h("b", {}, `${word} ${findings.length}. `), sentence),
  h("table", {},
    h("thead", {}, h("tr", {}, ["mistake", "clause", "σ", "effect"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, findings.map(finding))));
}

function finding({ mistake, clause, sentence, state, sigma, size }) {
  const accepted = report.accepted.includes(mistake);
  return h("tr", {},
    h("th", { scope: "row" }, h("code", {}, mistake), " ",
      state === "has" && h("span", { class: accepted ? "odd" : "bad" }, accepted ? "accepted" : "not accepted"),
      h("p", {}, sentence)),
    h("td", { class: "clause" }, h("code", {}, clause)),
    h("td", { class: "number" }, sigma ? readable(sigma) : "–"),
    h("td", { class: "number" }, `${readable(size)}×`));
}
