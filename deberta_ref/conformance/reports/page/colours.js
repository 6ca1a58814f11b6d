// Two scales of colour. One is of scores, everywhere on the page: cool within the limit, warm over it, warmer by the
// decade. The other is of a tap's own numbers, from negative to positive.

const dark = matchMedia("(prefers-color-scheme: dark)");

const SCORES = {
  light: { within: ["#f2f5f7", "#dbe6ee", "#a9c4d8"], over: ["#fbd58f", "#f0994a", "#d9532c", "#a81c33", "#5c0a35"] },
  dark: { within: ["#1b2127", "#24323d", "#3b5a72"], over: ["#775a1e", "#a86c26", "#d0632b", "#e2473c", "#ff6a86"] },
};
const VALUES = {
  light: ["#3f2b7d", "#8f7fc2", "#f4f2ee", "#5fb39a", "#0b5a48"],
  dark: ["#b9a5f5", "#6d5bb0", "#1d1f22", "#2f8a72", "#7fe3c4"],
};
const NOT_A_NUMBER = { light: "#e0218a", dark: "#ff4fb0" };
const DECADES = 6; // over the limit until the warmest colour
const FAINTEST = 0.01; // the score of the coolest colour

const scheme = () => (dark.matches ? "dark" : "light");

const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

const css = (colour) => `rgb(${colour.map(Math.round).join(" ")})`;

/** The colour at t, from 0 to 1, of a row of colours. */
function ramp(colours, t) {
  const place = Math.min(Math.max(t, 0), 1) * (colours.length - 1);
  const below = Math.min(Math.floor(place), colours.length - 2);
  const [a, b] = [rgb(colours[below]), rgb(colours[below + 1])];
  return a.map((part, i) => part + (b[i] - part) * (place - below));
}

/** The colour of a score, or of one number's error as a score. */
function scoreColour(score) {
  const { within, over } = SCORES[scheme()];
  if (score <= report.limit) return ramp(within, Math.log(score / FAINTEST) / Math.log(report.limit / FAINTEST));
  return ramp(over, Math.log10(score / report.limit) / DECADES);
}

/** The colour of a number between -1 and 1. */
const valueColour = (t) => ramp(VALUES[scheme()], (t + 1) / 2);

const notANumber = () => rgb(NOT_A_NUMBER[scheme()]);

/** Black or white, whichever is read more easily on a colour. */
function inkOn(colour) {
  const [r, g, b] = colour.map((part) => (part / 255) ** 2.2);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.2 ? "#161513" : "#ffffff";
}

/** A strip of colours, with words at its ends, and at marks in between: [place from 0 to 1, word]. */
function legend(colourAt, from, to, marks = []) {
  const stops = Array.from({ length: 33 }, (_, i) => css(colourAt(i / 32)));
  return h("div", { class: "legend" },
    h("div", { class: "strip", style: { background: `linear-gradient(to right, ${stops.join(",")})` } },
      marks.map(([place]) => h("span", { class: "mark", style: { left: `${100 * place}%` } }))),
    h("div", { class: "ends" }, h("span", {}, from),
      marks.map(([place, word]) => h("span", { class: "between", style: { left: `${100 * place}%` } }, word)),
      h("span", {}, to)));
}
