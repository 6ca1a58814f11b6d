"use strict";
// The report, elements, and scores as words. Text only ever becomes text nodes: nothing in a report is markup.

const report = JSON.parse(document.getElementById("data").textContent);

/** An element: h("p", { class: "note", onclick: f }, "text", child); children that are false or missing are left out. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  const missing = (value) => value === false || value === null || value === undefined;
  for (const [name, value] of Object.entries(attributes)) {
    if (missing(value)) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") {
      for (const [property, setting] of Object.entries(value)) element.style.setProperty(property, setting);
    } else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => !missing(child)));
  return element;
}

/** A score, or Infinity where JSON could not hold it; null where nothing was compared. */
const scoreOf = (entry) => (entry.infinite ? Infinity : entry.score);

/** A score in a few letters: 0.7, 12, 3.1e5, inf; a dash where nothing was compared. */
function readable(score) {
  if (score === null || score === undefined) return "–";
  if (!Number.isFinite(score)) return "inf";
  if (score >= 9999.5) return score.toExponential(1).replace("+", "");
  if (score >= 9.95) return score.toFixed(0);
  if (score >= 0.095) return score.toFixed(1);
  return score === 0 ? "0" : score >= 0.001 ? score.toPrecision(1) : "<0.001";
}

/** A number of a tap: six digits. */
const number = (x) => (Number.isFinite(x) ? String(Number(x.toPrecision(6))) : String(x));

/** "1 case", "5 cases". */
const count = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
