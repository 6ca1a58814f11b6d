// What is known of one case.

function details(entry) {
  return h("div", { class: "details" }, about(entry), notes(entry), bySlice(entry),
    h("div", { class: "beside" }, byTap(entry), bySize(entry)), again(entry));
}

/** What it is for, and how large. */
function about({ about: known }) {
  if (!known) return null;
  const facts = Object.entries(known.sizes).map(([name, size]) => `${name} ${size}`);
  if (known.padded) facts.unshift(`${known.padded} of them padded`);
  if (known.shape) facts.unshift(`${known.shape.join(" × ")} tokens`);
  if (known.operation) facts.unshift(`operation ${known.operation}`);
  return [
    h("p", { class: "exercises" }, known.exercises),
    facts.length > 0 && h("p", { class: "facts" }, facts.join(" · ")),
  ];
}

function notes(entry) {
  const said = [...entry.notes];
  if (entry.local) {
    const score = scoreOf(entry.local), wrong = score > report.limit;
    said.push(`Layer ${entry.local.layer}, fed the reference’s values, scores ${readable(score)}: ` +
      (wrong ? "the mistake is inside it." : "no layer is wrong by itself."));
  }
  return said.map((note) => h("p", { class: "note" }, note));
}

/** The heat maps of the first tap over the limit. */
function bySlice({ picture, first_tap: tap }) {
  if (!tap) return null;
  const heading = h("h3", {}, "First over the limit: ", h("code", {}, tap));
  if (!picture) return [heading, h("p", { class: "facts" }, "It has no numbers that can be drawn.")];
  return [heading, h("p", { class: "facts" }, howFar(picture)), heatmaps(picture), capped(picture)];
}

function howFar({ floor, judged, over, differ, notNumbers, maxScore, rmsScore }) {
  const be = (n) => (n === 1 ? "is" : "are");
  const said = [];
  if (!floor) said.push(`It is exact: each number is right or wrong. ${differ} of ${judged} ${be(differ)} wrong.`);
  else if (maxScore === null || rmsScore === null) said.push("Its error is infinite.");
  else {
    said.push(`Its largest error is ${readable(maxScore)} times that of right ports,`,
      `its root mean square ${readable(rmsScore)} times.`,
      `${over} of ${count(judged, "number")} ${be(over)} over the limit by ${over === 1 ? "itself" : "themselves"}.`);
  }
  if (notNumbers) said.push(`${notNumbers} of the port’s ${be(notNumbers)} not finite.`);
  return said.join(" ");
}

/** What the page leaves out to stay small. */
function capped({ block: [r, c], slices, worst }) {
  const said = [];
  if (r * c > 1) said.push(`A cell is the worst of ${r} × ${c} numbers.`);
  if (slices.length < worst.length) said.push(`Of ${worst.length} slices only the worst ${slices.length} are here.`);
  return said.length > 0 && h("p", { class: "facts capped" }, `${said.join(" ")} This keeps the page small.`);
}

function byTap(entry) {
  const table = grid(entry);
  return table && h("div", {}, h("h3", {}, "Scores in the order of the computation"), table);
}

function bySize({ picture }) {
  return picture?.histogram && h("div", {},
    h("h3", {}, "Its errors, in multiples of float32 rounding"),
    errorsHistogram(picture.histogram),
    h("p", { class: "facts" }, "Every judged number of the tap; both axes are logarithmic."));
}

function again({ reproduce }) {
  return reproduce && [h("h3", {}, "Judge it again"), h("pre", { tabindex: "0" }, h("code", {}, reproduce))];
}
