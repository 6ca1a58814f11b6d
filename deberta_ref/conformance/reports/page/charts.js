// Histograms on a logarithmic axis of scores, with the limit marked.

const power = (n) => (n < -3 || n > 3 ? `1e${n}` : String(Number((10 ** n).toPrecision(1))));

/**
 * A histogram: `bins` are lists of parts, [count, colour], from 10 ** first on, perDecade of them a decade. `height`
 * makes a part of the chart's height, from 0 to 1, of a count. `end` is a word for the end of the axis.
 */
function histogram({ bins, first, perDecade, height, label, title, end = null }) {
  const last = first + bins.length / perDecade, decades = last - first;
  const place = (log) => `${(100 * (log - first)) / decades}%`;
  const ticks = [];
  for (let n = first; n <= last; n += Math.ceil(decades / 6)) ticks.push(n);
  const word = (n) => (n === first ? `≤ ${power(n)}` : n === last ? end ?? power(n) : power(n));
  const bar = (parts, i) => {
    const all = parts.reduce((sum, [size]) => sum + size, 0);
    const part = ([size, colour]) => size > 0 && h("div", { style: { flex: String(size), background: colour } });
    return h("div", { class: "bar", title: all ? title(all, first + i / perDecade) : null },
      h("div", { style: { height: `${100 * height(all)}%` } }, parts.map(part)));
  };
  const limit = h("span", { class: "limit", style: { left: place(Math.log10(report.limit)) } },
    h("i", {}, `limit ${report.limit}`));
  return h("div", { class: "histogram", role: "img", "aria-label": label },
    h("div", { class: "bars" }, bins.map(bar), limit),
    h("div", { class: "ticks" }, ticks.map((n) =>
      h("span", { class: n === last ? "last" : null, style: { left: place(n) } }, word(n)))));
}

const LONGEST = 12; // decades; what lies beyond is one more

/** The scores of all cases: four bins a decade, and at the end those that are infinite or beyond the longest axis. */
function scoresHistogram(entries) {
  const scored = entries.map(scoreOf).filter((score) => score !== null);
  const first = -2, infinite = scored.includes(Infinity);
  const largest = Math.max(1, ...scored.filter(Number.isFinite));
  const beyond = largest > 10 ** LONGEST;
  const last = beyond ? LONGEST + 1 : Math.ceil(Math.log10(largest) + 0.01) + (infinite ? 1 : 0);
  const end = beyond ? `> ${power(LONGEST)}` : infinite ? "inf" : null;
  const within = css(scoreColour(report.limit));
  const bins = Array.from({ length: 4 * (last - first) }, () => [[0, within], [0, "var(--bad)"]]);
  for (const score of scored) {
    const at = Math.floor(4 * (Math.log10(Math.max(score, 1e-9)) - first));
    bins[Math.min(Math.max(at, 0), bins.length - 1)][score > report.limit ? 1 : 0][0] += 1;
  }
  const most = Math.max(1, ...bins.map(([a, b]) => a[0] + b[0]));
  const over = scored.filter((score) => score > report.limit).length;
  return histogram({
    bins, first, perDecade: 4, end, height: (n) => n / most,
    label: `Scores of ${count(scored.length, "case")} on a logarithmic axis; ${over} are over the limit.`,
    title: (n, log) => (end && log + 0.25 >= last ? `${count(n, "case")} of ${end}`
      : `${count(n, "case")} from ${readable(10 ** log)} to ${readable(10 ** (log + 0.25))}`),
  });
}

/** The errors of a tap's numbers, as scores; heights are logarithmic, or a few wrong numbers would not be seen. */
function errorsHistogram({ counts, first, perDecade }) {
  const most = Math.log(Math.max(2, ...counts));
  const colour = (i) => css(scoreColour(Math.max(report.limit, 10 ** (first + (i + 0.5) / perDecade))));
  return histogram({
    bins: counts.map((n, i) => [[n, colour(i)]]), first, perDecade,
    height: (n) => (n ? 0.06 + (0.94 * Math.log(n)) / most : 0),
    label: "Errors of all judged numbers in multiples of float32 rounding, both axes logarithmic.",
    title: (n, log) => `${count(n, "number")} from ${readable(10 ** log)} to ${readable(10 ** (log + 1 / perDecade))}`,
  });
}
