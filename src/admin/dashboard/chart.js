// A line chart over the last 15 minutes, drawn as SVG.

import { h, s, setText } from "./dom.js";

const WIDTH = 600;
const HEIGHT = 150;
const SPAN = 900;

/**
 * A chart with a caption that says the last values, so that nobody has to read them off the lines. `series` is a list of
 * `{ name, value(sample), class }`; `format` writes a value.
 */
export function chart(title, series, format) {
  const lines = series.map((one) => s("path", { class: `line ${one.class}`, fill: "none" }));
  const grid = s("path", { class: "grid", fill: "none" });
  const cursor = s("path", { class: "cursor", fill: "none" });
  const drawing = s("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true", class: "plot",
  }, grid, ...lines, cursor);
  const top = h("span", { class: "axis top" });
  const middle = h("span", { class: "axis middle" });
  const times = h("div", { class: "times", "aria-hidden": "true" },
    h("span", { text: "15 min ago" }), h("span", { text: "10" }), h("span", { text: "5" }), h("span", { text: "now" }));
  const values = series.map(() => h("b"));
  const legend = series.map((one, index) =>
    h("span", { class: `key ${one.class}` }, h("i", { "aria-hidden": "true" }), `${one.name} `, values[index]));
  const at = h("span", { class: "at" });
  const element = h("figure", { class: "chart" },
    h("figcaption", {}, h("h3", { text: title }), h("span", { class: "legend" }, ...legend, at)),
    h("div", { class: "area" }, drawing, top, middle), times);

  let samples = [];
  let pointed = null;
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    pointed = Math.round(((event.clientX - box.left) / box.width) * (SPAN - 1));
    describe();
  });
  drawing.addEventListener("pointerleave", () => { pointed = null; describe(); });

  function describe() {
    const index = pointed === null ? samples.length - 1 : pointed - (SPAN - samples.length);
    const sample = samples[index];
    series.forEach((one, position) => setText(values[position], sample ? format(one.value(sample)) : "–"));
    const text = pointed === null || !sample ? "" : ` at ${new Date(sample.time).toLocaleTimeString("en-GB")}`;
    setText(at, text);
    const x = pointed === null ? null : ((pointed / (SPAN - 1)) * WIDTH).toFixed(1);
    cursor.setAttribute("d", x === null ? "" : `M${x} 0V${HEIGHT}`);
  }

  function update(next) {
    samples = next;
    let highest = 0;
    for (const sample of samples) for (const one of series) highest = Math.max(highest, one.value(sample) ?? 0);
    const bound = above(highest);
    setText(top, format(bound));
    setText(middle, format(bound / 2));
    grid.setAttribute("d", `M0 1H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT - 1}H${WIDTH}`);
    series.forEach((one, index) => lines[index].setAttribute("d", path(samples, one.value, bound)));
    describe();
  }
  return { element, update };
}

/** The path of one series; a sample without a value interrupts it. */
function path(samples, value, bound) {
  const first = SPAN - samples.length;
  let text = "";
  let pen = "M";
  samples.forEach((sample, index) => {
    const current = value(sample);
    if (current === null || current === undefined) {
      pen = "M";
      return;
    }
    const x = ((first + index) / (SPAN - 1)) * WIDTH;
    const y = HEIGHT - 1 - (current / bound) * (HEIGHT - 8);
    text += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
  });
  return text;
}

/** The next round number: the top of the axis. */
function above(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}
