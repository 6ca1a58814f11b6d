// The first wrong tap: the port's numbers, the reference's and the error, side by side, one slice at a time.

const CELL = 26; // pixels, at most

function decoded(text) {
  const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

/** Heat maps of a picture, with a choice of the slice, and a cursor that reads the numbers. */
function heatmaps(picture) {
  const [reference, error] = [decoded(picture.reference), decoded(picture.error)];
  const [rows, columns] = picture.size, area = rows * columns;
  const scale = values(reference);
  const maps = [
    { name: "port", colour: (n) => scale.colour(reference[n] + error[n]), key: scale.legend("≤ ", "≥ ") },
    { name: "reference", colour: (n) => scale.colour(reference[n]), key: scale.legend("", "") },
    { name: "error", colour: (n) => scoreColour(multiple(picture, error[n])), key: errorLegend(picture) },
  ];
  for (const map of maps) {
    map.canvas = h("canvas", { width: columns, height: rows, "aria-hidden": "true" });
    map.cursor = h("i", { class: "cursor" });
  }
  const words = h("output", { class: "readout", "aria-live": "polite" });
  const judged = (n) => !Number.isNaN(reference[n]);
  let slice = 0, at = 0;

  function show(chosen) {
    slice = chosen;
    let worst = 0, largest = -1;
    for (const { canvas, colour } of maps) {
      const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
      for (let i = 0; i < area; i += 1) {
        const n = slice * area + i;
        if (judged(n)) image.data.set([...colour(n), 255], 4 * i); // what is not judged stays clear
      }
      context.putImageData(image, 0, 0);
    }
    for (let i = 0; i < area; i += 1) {
      const n = slice * area + i, size = judged(n) ? multiple(picture, error[n]) : -1;
      if (size > largest) [worst, largest] = [i, size];
    }
    move(worst);
  }

  function move(i) {
    at = i;
    const row = Math.floor(i / columns), column = i % columns, n = slice * area + i;
    const box = { left: column / columns, top: row / rows, width: 1 / columns, height: 1 / rows };
    for (const { cursor } of maps) {
      for (const [side, part] of Object.entries(box)) cursor.style[side] = `${100 * part}%`;
    }
    const said = `port ${number(reference[n] + error[n])}, reference ${number(reference[n])}, error ${number(error[n])}`;
    const size = picture.floor ? `: ${readable(multiple(picture, error[n]))} times float32 rounding` : "";
    words.replaceChildren(h("b", {}, place(picture, slice, row, column)),
      judged(n) ? ` — ${said}${size}` : " is padded, and not judged.");
  }

  function point(event) {
    const box = event.currentTarget.getBoundingClientRect();
    const part = (x, all) => Math.min(Math.max(Math.floor(x * all), 0), all - 1);
    const row = part((event.clientY - box.top) / box.height, rows);
    move(row * columns + part((event.clientX - box.left) / box.width, columns));
  }

  function key(event) {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    const row = Math.floor(at / columns) + step[0], column = (at % columns) + step[1];
    if (row >= 0 && row < rows && column >= 0 && column < columns) move(row * columns + column);
  }

  const square = picture.axes.at(-1) === "key";
  const ratio = square ? columns / rows : Math.min(Math.max(columns / rows, 0.6), 2.4);
  const [down, across] = picture.strip ? ["", "element"] : picture.axes.slice(-2);
  const figure = (map) => h("figure", { style: { "max-width": `${Math.max(columns * CELL, 220)}px` } },
    h("figcaption", {}, h("b", {}, map.name), h("span", {}, `${down && `${down} ↓  `}${across} →`)),
    h("div", { class: "map", onpointermove: point, onpointerdown: point, style: { "aspect-ratio": String(ratio) } },
      map.canvas, map.cursor),
    map.key);
  const begin = worstSlice(picture);
  show(begin);
  return [
    chooser(picture, begin, show),
    h("div", {
      class: "maps", tabindex: "0", role: "group", onkeydown: key,
      "aria-label": `Port, reference and error by ${down} and ${across}. The arrow keys move the cursor.`,
    }, maps.map(figure)),
    words,
  ];
}

/** An error in multiples of float32 rounding; where nothing is rounded, any error is infinite. */
function multiple({ floor }, error) {
  if (!Number.isFinite(error)) return Infinity;
  return floor ? Math.abs(error) / floor : error === 0 ? 0 : Infinity;
}

/** The colours of a tap's own numbers, on the reference's scale: a port's wild ones must not flatten it. */
function values(reference) {
  let low = Infinity, high = -Infinity;
  for (const x of reference) {
    if (x < low) low = x;
    if (x > high) high = x;
  }
  const reach = Math.max(Math.abs(low), Math.abs(high)) || 1;
  const from = low < 0 ? -reach : 0, to = low < 0 && high <= 0 ? 0 : reach;
  const word = (x) => number(Number(x.toPrecision(3)));
  return {
    colour: (x) => (Number.isNaN(x) ? notANumber() : valueColour(x / reach)),
    legend: (below, above) => legend((t) => valueColour((from + t * (to - from)) / reach),
      `${from ? below : ""}${word(from)}`, `${to ? above : ""}${word(to)}`),
  };
}

function errorLegend({ floor, worst }) {
  if (!floor) return legend((t) => scoreColour(t < 0.5 ? 0 : Infinity), "equal", "different");
  const top = Math.max(100 * report.limit, ...worst.map((score) => Math.min(score ?? 1e7, 1e12)));
  const decades = Math.log10(top / FAINTEST), limit = Math.log10(report.limit / FAINTEST) / decades;
  return legend((t) => scoreColour(FAINTEST * 10 ** (t * decades)), `${FAINTEST}×`,
    `${worst.includes(null) ? "≥ " : ""}${readable(top)}×`, [[limit, `limit ${report.limit}`]]);
}
