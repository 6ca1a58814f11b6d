// The slices of a picture: one for every example and head, or whatever its axes before the last two are.

/** The leading indices of a slice, in words: ["example 0", "head 1"]. */
function leading({ axes, shape }, slice) {
  const words = [];
  for (let axis = shape.length - 3; axis >= 0; axis -= 1) {
    words.unshift(`${axes[axis]} ${slice % shape[axis]}`);
    slice = Math.floor(slice / shape[axis]);
  }
  return words;
}

/** Where a cell is: "example 0, head 1, query 3, key 7". */
function place(picture, slice, row, column) {
  const [r, c] = picture.block;
  if (picture.strip) { // cut into rows, and then made smaller as all pictures are, where there is no room
    return `${r * c > 1 ? "near element" : "element"} ${row * r * picture.size[1] * c + column * c}`;
  }
  const range = (axis, n, block) => {
    const name = picture.axes.at(axis), last = Math.min((n + 1) * block, picture.shape.at(axis)) - 1;
    return block === 1 ? `${name} ${n}` : `${name} ${n * block}–${last}`;
  };
  return [...leading(picture, picture.slices[slice]), range(-2, row, r), range(-1, column, c)].join(", ");
}

/** Of the slices that the page holds, the one with the worst error. */
function worstSlice({ worst, slices }) {
  const size = (slice) => worst[slice] ?? Infinity;
  return slices.reduce((best, slice, n) => (size(slice) > size(slices[best]) ? n : best), 0);
}

let choosers = 0;

/** A square for every slice, in the colour of its worst error; null where there is one slice. */
function chooser(picture, begin, show) {
  if (picture.worst.length < 2) return null;
  const sizes = picture.shape.slice(0, -2), across = sizes.at(-1), name = `slice-${(choosers += 1)}`;
  const square = (score, slice) => {
    const kept = picture.slices.indexOf(slice), colour = scoreColour(score ?? Infinity);
    const words = leading(picture, slice).join(", ");
    const title = `${words}: the worst error is ${readable(score ?? Infinity)} times float32 rounding`;
    return h("label", { title: kept < 0 ? `${title}; left out of this page` : title },
      h("input", { type: "radio", name, disabled: kept < 0, checked: kept === begin, "aria-label": words,
        onchange: () => show(kept) }),
      h("span", { style: { background: css(colour), color: inkOn(colour) } },
        sizes.length > 1 ? `${Math.floor(slice / across)}·${slice % across}` : String(slice)));
  };
  return h("fieldset", { class: "chooser" },
    h("legend", {}, `${picture.axes.slice(0, -2).join(" ↓  ")} →`),
    h("div", { style: { "grid-template-columns": `repeat(${Math.min(across, 24)}, auto)` } }, picture.worst.map(square)));
}
