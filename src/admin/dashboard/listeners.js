// Listeners, connections and certificates.

import { h, reconcile, setText } from "./dom.js";
import { duration, number } from "./format.js";
import { store } from "./store.js";

export const title = "Listeners";

const SOON = 14;

export function page() {
  const listeners = h("ul", { class: "plain" });
  const facts = h("dl", { class: "facts" });
  const certificates = h("tbody");
  const none = h("p", { class: "note", text: "No certificates: no listener uses TLS, and no pool shows one to its backends." });
  const table = h("table", {}, h("thead", {}, h("tr", {}, ...["Names", "Expires", "Used by", "File"].map((text) => h("th", { scope: "col", text })))), certificates);
  const element = h("div", {}, h("h1", { text: "Listeners" }), listeners, h("h2", { text: "Process" }), facts,
    h("h2", { text: "Certificates" }), none, table);

  function update() {
    const { process } = store.status;
    reconcile(listeners, process.listeners, (address) => address, (address) => ({
      element: h("li", {}, h("code", { text: address })), update() {},
    }));
    reconcile(facts, factsOf(process), ([name]) => name, ([name]) => {
      const value = h("dd");
      return { element: h("div", {}, h("dt", { text: name }), value), update: ([, text]) => setText(value, text) };
    });
    none.hidden = store.status.certificates.length > 0;
    table.hidden = !none.hidden;
    reconcile(certificates, store.status.certificates, (one) => one.cert, certificateRow);
  }
  return { element, update };
}

function factsOf(process) {
  return [
    ["Version", process.version],
    ["Process id", String(process.pid)],
    ["Running for", duration(process.uptime_seconds)],
    ["Workers", number(process.workers)],
    ["Client connections", `${number(process.connections.active)} open, ${number(process.connections.accepted)} accepted`],
    ["Requests", `${number(process.requests.in_flight)} in flight, ${number(process.requests.total)} completed`],
  ];
}

function certificateRow(first) {
  const expires = h("td", { "data-label": "Expires" });
  return {
    element: h("tr", {}, h("th", { scope: "row", text: first.names.join(", ") }), expires,
      h("td", { "data-label": "Used by", text: first.shown_by.join(", ") }), h("td", { "data-label": "File" }, h("code", { text: first.cert }))),
    update(one) {
      const left = one.expired ? "■ expired" : `${one.days_left <= SOON ? "▲ " : ""}${number(one.days_left)} days left`;
      setText(expires, `${left} (${one.expires.slice(0, 10)})`);
      expires.className = one.expired ? "bad" : one.days_left <= SOON ? "warn" : "";
    },
  };
}
