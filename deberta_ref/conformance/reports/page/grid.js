// Scores by tap and layer, in the order of the computation: down a column, then down the next.

const LAYER = /^layers\.(\d+)\.(.*)$/;

/** The table of a case's scores; null where it has none. */
function grid(entry) {
  if (!Object.keys(entry.scores).length) return null;
  const found = entry.taps.map((name) => ({ name, layer: name.match(LAYER) }));
  const layers = [...new Set(found.filter((tap) => tap.layer).map((tap) => Number(tap.layer[1])))];
  const inLayers = [...new Set(found.filter((tap) => tap.layer).map((tap) => tap.layer[2]))];
  const start = found.findIndex((tap) => tap.layer);
  const before = found.filter((tap, i) => !tap.layer && (start < 0 || i < start));
  const after = found.filter((tap, i) => !tap.layer && start >= 0 && i > start);
  const known = new Set(entry.taps);
  const width = Math.max(1, layers.length);
  const whole = ({ name }) => h("tr", {}, h("th", { scope: "row" }, name), cell(entry, name, width));
  return h("div", { class: "scroll" },
    h("table", { class: `grid${layers.length > 6 ? " many" : ""}` },
      layers.length > 0 && h("thead", {}, h("tr", {}, h("th", {}),
        layers.map((n) => h("th", { scope: "col" }, layers.length > 6 ? String(n) : `layer ${n}`)))),
      before.length > 0 && h("tbody", {}, before.map(whole)),
      layers.length > 0 && h("tbody", {}, inLayers.map((tap) => h("tr", {}, h("th", { scope: "row" }, tap),
        layers.map((n) => (known.has(`layers.${n}.${tap}`) ? cell(entry, `layers.${n}.${tap}`, 1) : h("td", {})))))),
      after.length > 0 && h("tbody", {}, after.map(whole))));
}

function cell(entry, name, columns) {
  if (!(name in entry.scores)) {
    return h("td", { class: "absent", colspan: columns, title: `${name}: the port does not give it` }, "·");
  }
  const score = entry.scores[name] ?? Infinity;
  const first = name === entry.first_tap;
  const colour = scoreColour(score);
  return h("td", {
    class: first ? "first" : null, colspan: columns, style: { background: css(colour), color: inkOn(colour) },
    title: `${name} scores ${readable(score)}${first ? ": the first over the limit" : ""}`,
  }, readable(score));
}
