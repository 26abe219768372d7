// The first page: the traffic of the last 15 minutes, the pools at a glance, and what happened last.

import { h, reconcile, setText } from "./dom.js";
import { chart } from "./chart.js";
import { clock, milliseconds, number, percent, rate } from "./format.js";
import { stateSummary } from "./state.js";
import { eventKey, eventText } from "./events.js";
import { store } from "./store.js";

/** Figures at the top are means of this many seconds. */
const RECENT = 5;
const EVENTS_SHOWN = 6;

export const title = "Overview";

export function page() {
  const tiles = TILES.map(({ name }) => {
    const value = h("b");
    const note = h("small");
    return { element: h("div", { class: "tile" }, h("span", { text: name }), value, note), value, note };
  });
  const charts = [
    chart("Requests per second", [
      { name: "requests", class: "one", value: (sample) => sample.requests },
      { name: "server errors", class: "bad", value: (sample) => sample.errors },
    ], rate),
    chart("Latency", [
      { name: "p50", class: "one", value: (sample) => sample.p50_ms },
      { name: "p99", class: "two", value: (sample) => sample.p99_ms },
    ], milliseconds),
    chart("Server errors", [
      { name: "share of requests", class: "bad", value: (sample) => sample.requests ? (100 * sample.errors) / sample.requests : null },
    ], (value) => (value === null ? "–" : `${number(value, value > 0 && value < 10 ? 1 : 0)}%`)),
    chart("In flight and retries", [
      { name: "in flight", class: "one", value: (sample) => sample.in_flight },
      { name: "retries per second", class: "two", value: (sample) => sample.retries },
    ], rate),
  ];
  const pools = h("tbody");
  const events = h("ol", { class: "events" });
  const element = h("div", {},
    h("h1", { class: "hidden", text: "Overview" }),
    h("section", { class: "tiles", "aria-label": "Now" }, ...tiles.map((tile) => tile.element)),
    h("section", { class: "charts", "aria-label": "The last 15 minutes" }, h("h2", { class: "hidden", text: "The last 15 minutes" }), ...charts.map((one) => one.element)),
    h("section", {}, h("h2", { text: "Pools" }),
      h("table", {}, h("thead", {}, h("tr", {}, ...["Pool", "Backends", "Attempts per second", "Failed", "In flight", "Waiting"]
        .map((name, index) => h("th", { scope: "col", class: index > 1 ? "number" : "", text: name })))), pools)),
    h("section", {}, h("h2", { text: "Last events" }), events, h("p", {}, h("a", { href: "#/events", text: "All events" }))));

  function update() {
    const last = store.samples.slice(-RECENT);
    TILES.forEach((tile, index) => {
      setText(tiles[index].value, tile.value(last));
      setText(tiles[index].note, tile.note?.(last) ?? "");
    });
    for (const one of charts) one.update(store.samples);
    reconcile(pools, store.status.pools, (pool) => pool.name, poolRow);
    reconcile(events, store.events.slice(-EVENTS_SHOWN).reverse(), eventKey, (event) => ({
      element: h("li", { class: event.level.toLowerCase() },
        h("time", { datetime: event.time, text: clock(event.time) }), " ", h("span", { text: eventText(event) })),
      update() {},
    }));
  }
  return { element, update };
}

const sum = (samples, value) => samples.reduce((total, sample) => total + value(sample), 0);
const mean = (samples, value) => (samples.length === 0 ? null : sum(samples, value) / samples.length);
const slowest = (samples, value) => {
  const values = samples.map(value).filter((one) => one !== null && one !== undefined);
  return values.length === 0 ? null : Math.max(...values);
};

const TILES = [
  { name: "Requests per second", value: (last) => rate(mean(last, (sample) => sample.requests)) },
  {
    name: "Server errors",
    value: (last) => percent(sum(last, (sample) => sample.errors), sum(last, (sample) => sample.requests)),
    note: (last) => `${number(sum(last, (sample) => sample.errors))} in ${RECENT} s`,
  },
  { name: "Latency p50", value: (last) => milliseconds(slowest(last, (sample) => sample.p50_ms)) },
  { name: "Latency p99", value: (last) => milliseconds(slowest(last, (sample) => sample.p99_ms)) },
  { name: "In flight", value: () => number(store.status.process.requests.in_flight) },
  { name: "Client connections", value: () => number(store.status.process.connections.active) },
];

function poolRow(pool) {
  const cells = Array.from({ length: 4 }, () => h("td", { class: "number" }));
  const link = h("a", { href: `#/pools?pool=${encodeURIComponent(pool.name)}`, text: pool.name });
  const backends = h("td", { "data-label": "Backends" });
  ["Attempts per second", "Failed", "In flight", "Waiting"].forEach((name, index) => cells[index].setAttribute("data-label", name));
  return {
    element: h("tr", {}, h("th", { scope: "row" }, link), backends, ...cells),
    update(current) {
      const rates = current.backends.map((backend) => store.rates.get(`${current.name} ${backend.url}`));
      const attempts = rates.reduce((total, one) => total + (one?.attempts ?? 0), 0);
      const failures = rates.reduce((total, one) => total + (one?.failures ?? 0), 0);
      setText(backends, stateSummary(current.backends));
      setText(cells[0], rate(attempts));
      setText(cells[1], percent(failures, attempts));
      setText(cells[2], number(current.backends.reduce((total, backend) => total + backend.in_flight, 0)));
      setText(cells[3], number(current.queue.depth));
    },
  };
}
