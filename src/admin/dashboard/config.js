// The active config with its line numbers, and what the last reload changed in it.

import { h } from "./dom.js";
import * as api from "./api.js";
import { clock } from "./format.js";
import { store } from "./store.js";

export const title = "Config";

export function page() {
  // They scroll where a line is wider than the page, which the keyboard can do only with a focus.
  const text = h("ol", { class: "lines", tabindex: "0", "aria-label": "The active config" });
  const facts = h("p", { class: "facts" });
  const errors = h("pre", { class: "problem", hidden: true });
  const changes = h("section", { hidden: true }, h("h2", { text: "Changed by the last reload" }), h("ol", { class: "lines diff", tabindex: "0", "aria-label": "Changed lines" }));
  const element = h("div", {}, h("h1", { text: "Config" }), facts, errors, changes,
    h("h2", { text: "The active config, with all defaults and without secrets" }), text);
  let shown = null;

  async function update() {
    const { config } = store.status.process;
    const reload = config.last_reload;
    const back = config.rolled_back;
    const key = `${config.loaded} ${reload?.time} ${config.guarded_until} ${back?.time}`;
    if (key === shown) return;
    shown = key;
    const guarded = config.guarded_until ? ` · guarded until ${clock(config.guarded_until)}` : "";
    facts.textContent = `${config.source} · loaded at ${clock(config.loaded)}${guarded}`;
    const undone = back ? [`rolled back at ${clock(back.time)}: ${back.reason}; correct the file and reload`] : [];
    const lines = [...undone, ...(reload?.errors ?? [])];
    errors.hidden = lines.length === 0;
    errors.textContent = reload ? `Last reload, at ${clock(reload.time)}:\n${lines.join("\n")}` : "";
    try {
      const active = (await api.getText("/api/v1/config")).split("\n");
      const before = reload === null ? active : await previousLines(active);
      // Another reload may have come meanwhile.
      if (key !== shown) return;
      text.replaceChildren(...active.map((line) => h("li", {}, h("code", { text: line }))));
      showChanges(before, active);
    } catch (error) {
      if (key !== shown) return;
      // Asked for again with the next status.
      shown = null;
      errors.hidden = false;
      changes.hidden = true;
      errors.textContent = `The config could not be read: ${error.message || "the token is no longer valid"}`;
    }
  }

  /** There is no previous config before the first successful reload: nothing has changed then. */
  async function previousLines(active) {
    try {
      return (await api.getText("/api/v1/config/previous")).split("\n");
    } catch (error) {
      if (error instanceof api.Refused) return active;
      throw error;
    }
  }

  function showChanges(before, after) {
    const lines = difference(before, after);
    changes.hidden = lines.length === 0;
    changes.lastChild.replaceChildren(...lines.map(({ kind, line, number }) =>
      h("li", { class: kind, value: number }, h("span", { class: "sign", text: kind === "added" ? "+" : "−" }),
        h("span", { class: "hidden", text: `${kind}: ` }), h("code", { text: line }))));
  }
  return { element, update };
}

/** The lines that two texts do not share, by their longest common subsequence between the equal beginning and end. */
export function difference(before, after) {
  let first = 0;
  while (first < before.length && first < after.length && before[first] === after[first]) first += 1;
  let tail = 0;
  while (tail < before.length - first && tail < after.length - first && before.at(-1 - tail) === after.at(-1 - tail)) tail += 1;
  const old = before.slice(first, before.length - tail);
  const now = after.slice(first, after.length - tail);
  const removed = (line, index) => ({ kind: "removed", line, number: first + index + 1 });
  const added = (line, index) => ({ kind: "added", line, number: first + index + 1 });
  if (old.length * now.length > 4_000_000) return [...old.map(removed), ...now.map(added)];
  const width = now.length + 1;
  const common = new Uint32Array((old.length + 1) * width);
  for (let i = old.length - 1; i >= 0; i -= 1) {
    for (let j = now.length - 1; j >= 0; j -= 1) {
      common[i * width + j] = old[i] === now[j] ? common[(i + 1) * width + j + 1] + 1
        : Math.max(common[(i + 1) * width + j], common[i * width + j + 1]);
    }
  }
  const lines = [];
  let [i, j] = [0, 0];
  while (i < old.length || j < now.length) {
    if (i < old.length && j < now.length && old[i] === now[j]) { i += 1; j += 1; }
    else if (i < old.length && (j === now.length || common[(i + 1) * width + j] >= common[i * width + j + 1])) { lines.push(removed(old[i], i)); i += 1; }
    else { lines.push(added(now[j], j)); j += 1; }
  }
  return lines;
}
