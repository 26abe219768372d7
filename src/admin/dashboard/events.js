// The event log: what the process wrote to its log, the newest first.

import { h, reconcile, setText } from "./dom.js";
import { clock } from "./format.js";
import { store } from "./store.js";

export const title = "Events";

/** What tells events apart: each process numbers its own from 1 on. */
export const eventKey = (event) => `${event.time} ${event.id}`;

/** An event in one line. */
export function eventText(event) {
  const fields = Object.entries(event.fields ?? {}).map(([key, value]) => `${key}: ${typeof value === "string" ? value : JSON.stringify(value)}`);
  return fields.length === 0 ? event.msg : `${event.msg} · ${fields.join(" · ")}`;
}

export function page() {
  const search = h("input", { type: "search", placeholder: "Text", "aria-label": "Search events", oninput: update });
  const level = h("select", { "aria-label": "Level", onchange: update },
    ...[["", "All levels"], ["WARN", "Warnings and errors"], ["ERROR", "Errors"]].map(([value, text]) => h("option", { value, text })));
  const found = h("span", { role: "status" });
  const list = h("ol", { class: "events" });
  const element = h("div", {}, h("h1", { text: "Events" }), h("div", { class: "filter" }, search, level, found), list,
    h("p", { class: "note", text: "The last lines of the operations log, from INFO on. Times are local." }));

  function matches(event) {
    if (level.value === "ERROR" && event.level !== "ERROR") return false;
    if (level.value === "WARN" && event.level === "INFO") return false;
    return eventText(event).toLowerCase().includes(search.value.trim().toLowerCase());
  }

  function update() {
    const shown = store.events.filter(matches).reverse();
    setText(found, `${shown.length} of ${store.events.length} events`);
    reconcile(list, shown, eventKey, (event) => ({
      element: h("li", { class: event.level.toLowerCase() },
        h("time", { datetime: event.time, text: clock(event.time) }),
        h("span", { class: "level", text: event.level }),
        h("span", { text: eventText(event) })),
      update() {},
    }));
  }
  return { element, update };
}
