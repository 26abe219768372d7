// The state of a backend: always a shape and a word, so that colour is never the only sign.

import { h, setText } from "./dom.js";

const STATES = {
  up: { sign: "●", word: "up" },
  unknown: { sign: "○", word: "unchecked" },
  down: { sign: "■", word: "down" },
  ejected: { sign: "▲", word: "ejected" },
  draining: { sign: "◆", word: "draining" },
};

const of = (state) => STATES[state] ?? { sign: "?", word: state };

/** An element that shows a state. */
export function stateMark() {
  const sign = h("i", { "aria-hidden": "true" });
  const word = h("span");
  const element = h("span", { class: "state" }, sign, " ", word);
  return {
    element,
    update(state) {
      element.className = `state ${Object.hasOwn(STATES, state) ? state : ""}`;
      setText(sign, of(state).sign);
      setText(word, of(state).word);
    },
  };
}

/** How many backends are in which state: `3 up, 1 down`. */
export function stateSummary(backends) {
  const counts = new Map();
  for (const backend of backends) counts.set(backend.state, (counts.get(backend.state) ?? 0) + 1);
  return [...counts].map(([state, count]) => `${of(state).sign} ${count} ${of(state).word}`).join("   ");
}
