// Pools and their backends: state and why, checks, load, latency, and the actions on a backend.

import { h, reconcile, s, setAttribute, setText } from "./dom.js";
import * as api from "./api.js";
import { ask } from "./dialog.js";
import { ago, clock, milliseconds, number, percent, rate } from "./format.js";
import { stateMark, stateSummary } from "./state.js";
import { store, refresh } from "./store.js";

export const title = "Pools";

const CHECKS = 20;
const MAX_WEIGHT = 256;
const COLUMNS = ["Backend", "State", "Checks", "Attempts/s", "Share", "Failed", "In flight", "p50", "p99", "Weight", "Actions"];
const NUMBERS = ["Attempts/s", "Share", "Failed", "In flight", "p50", "p99", "Weight"];

export function page(query) {
  const search = h("input", { type: "search", placeholder: "Pool, backend or reason", "aria-label": "Search pools and backends", oninput: update });
  search.value = query.get("pool") ?? "";
  const states = h("select", { "aria-label": "State", onchange: update },
    ...[["", "All states"], ["trouble", "Not receiving requests"], ["up", "Up"], ["unknown", "Unchecked"], ["down", "Down"], ["ejected", "Ejected"], ["draining", "Draining"]]
      .map(([value, text]) => h("option", { value, text })));
  const found = h("span", { role: "status" });
  const list = h("div");
  const element = h("div", {}, h("h1", { text: "Pools" }), h("div", { class: "filter" }, search, states, found), list);

  const isFound = (...texts) => texts.filter(Boolean).join(" ").toLowerCase().includes(search.value.trim().toLowerCase());

  function matches(pool, backend) {
    if (states.value === "trouble" ? backend.eligible : states.value && backend.state !== states.value) return false;
    return isFound(pool.name, backend.url, backend.name, backend.why);
  }

  function update() {
    const shown = store.status.pools
      .map((pool) => ({ pool, backends: pool.backends.filter((backend) => matches(pool, backend)) }))
      .filter(({ pool, backends }) => backends.length > 0 || (pool.backends.length === 0 && states.value === "" && isFound(pool.name)));
    const all = store.status.pools.reduce((total, pool) => total + pool.backends.length, 0);
    setText(found, `${shown.reduce((total, one) => total + one.backends.length, 0)} of ${all} backends`);
    reconcile(list, shown, ({ pool }) => pool.name, poolSection);
  }
  return { element, update };
}

function poolSection({ pool: first }) {
  const facts = h("p", { class: "facts" });
  const rows = h("tbody");
  const element = h("section", { class: "pool" }, h("h2", { text: first.name }), facts,
    h("table", { class: "backends" }, h("caption", { class: "hidden", text: `Backends of ${first.name}` }),
      h("thead", {}, h("tr", {}, ...COLUMNS.map((name) => h("th", { scope: "col", class: NUMBERS.includes(name) ? "number" : "", text: name })))), rows));
  return {
    element,
    update({ pool, backends }) {
      setText(facts, facts_of(pool).join(" · "));
      const rates = new Map(pool.backends.map((backend) => [backend.url, store.rates.get(`${pool.name} ${backend.url}`)]));
      const total = [...rates.values()].reduce((sum, one) => sum + (one?.attempts ?? 0), 0);
      reconcile(rows, backends.map((backend) => ({ pool, backend, rates: rates.get(backend.url), total })),
        ({ backend }) => backend.url, backendRow);
    },
  };
}

function facts_of(pool) {
  return [
    pool.strategy,
    stateSummary(pool.backends),
    pool.sticky && `sticky by ${pool.sticky}`,
    `${number(pool.retry_tokens)} retries left`,
    `${number(pool.queue.depth)} waiting`,
    pool.queue.waited_ms !== null && `waited ${milliseconds(pool.queue.waited_ms)} (p99)`,
  ].filter(Boolean);
}

function backendRow({ pool, backend: first }) {
  const mark = stateMark();
  const why = h("small", { class: "why" });
  const checks = checkMarks();
  const cells = Object.fromEntries(NUMBERS.map((name) => [name, h("td", { class: "number", "data-label": name })]));
  const label = first.name ?? first.url;
  const drain = h("button", { type: "button", onclick: () => toggle(pool.name, current) });
  const weigh = h("button", { type: "button", text: "Weight…", "aria-label": `Weight of ${label}`, onclick: () => weight(pool.name, current) });
  const backup = h("small");
  let current = first;
  const element = h("tr", {},
    h("th", { scope: "row" }, h("span", { text: label }), first.name ? h("small", { text: first.url }) : null, backup),
    h("td", { "data-label": "State" }, mark.element, why),
    h("td", { "data-label": "Checks" }, checks.element),
    ...NUMBERS.map((name) => cells[name]),
    h("td", { class: "actions", "data-label": "Actions" }, drain, weigh));
  return {
    element,
    update({ backend, rates, total }) {
      current = backend;
      mark.update(backend.state);
      setText(why, reason(backend));
      setText(backup, backend.backup ? "backup" : "");
      checks.update(backend.checks);
      setText(cells["Attempts/s"], rate(rates?.attempts));
      setText(cells.Share, percent(rates?.attempts, total));
      setText(cells.Failed, percent(rates?.failures, rates?.attempts));
      const limit = backend.adaptive_limit === null ? "" : ` / ${number(backend.adaptive_limit)}`;
      setText(cells["In flight"], number(backend.in_flight) + limit);
      setText(cells.p50, milliseconds(backend.latency_ms?.p50));
      setText(cells.p99, milliseconds(backend.latency_ms?.p99));
      const effective = backend.effective_weight < backend.weight ? ` (${number(backend.effective_weight, 1)} now)` : "";
      setText(cells.Weight, number(backend.weight) + effective);
      const isDraining = backend.state === "draining";
      setText(drain, isDraining ? "Ready" : "Drain");
      setAttribute(drain, "aria-label", `${isDraining ? "Ready" : "Drain"} ${label}`);
    },
  };
}

function reason(backend) {
  const parts = [backend.why, `for ${ago(backend.since)}`];
  if (backend.ejected_until) parts.push(`until ${clock(backend.ejected_until)}`);
  return parts.filter(Boolean).join(", ");
}

/** The last checks, the latest on the right: a tall bar passed, a short one at the bottom failed. */
function checkMarks() {
  const good = s("path", { class: "good" });
  const bad = s("path", { class: "bad" });
  const drawing = s("svg", { viewBox: `0 0 ${CHECKS * 5} 16`, class: "checks", role: "img" }, good, bad);
  let latest = null;
  return {
    element: drawing,
    update(checks) {
      const key = `${checks[0]?.time} ${checks.length}`;
      if (key === latest) return;
      latest = key;
      const paths = { true: "", false: "" };
      checks.forEach((check, index) => {
        const x = (CHECKS - 1 - index) * 5;
        paths[check.healthy] += check.healthy ? `M${x} 1h4v14h-4z` : `M${x} 10h4v5h-4z`;
      });
      good.setAttribute("d", paths.true);
      bad.setAttribute("d", paths.false);
      const failed = checks.filter((check) => !check.healthy).length;
      const last = checks[0];
      const text = last === undefined ? "no checks"
        : `${failed} of the last ${checks.length} checks failed; the last at ${clock(last.time)}: ${last.healthy ? "passed" : last.reason ?? "failed"}`;
      setAttribute(drawing, "aria-label", text);
      drawing.replaceChildren(s("title", { text }), good, bad);
    },
  };
}

async function toggle(pool, backend) {
  const label = backend.name ?? backend.url;
  const isDraining = backend.state === "draining";
  const action = isDraining ? "ready" : "drain";
  await ask({
    title: isDraining ? `Give ${label} requests again?` : `Drain ${label}?`,
    text: isDraining ? `Pool ${pool}. It receives requests as soon as it is healthy.`
      : `Pool ${pool}. It finishes its ${number(backend.in_flight)} requests and receives no new ones, until it is made ready again.`,
    button: isDraining ? "Ready" : "Drain",
    run: () => api.send("POST", api.backendPath(pool, backend.url, action)),
  });
  await refresh();
}

async function weight(pool, backend) {
  const input = h("input", { type: "number", name: "weight", min: 0, max: MAX_WEIGHT, step: 1, required: true, value: backend.weight });
  await ask({
    title: `Weight of ${backend.name ?? backend.url}`,
    text: `Pool ${pool}. Its share of requests relative to the others, 0 to ${MAX_WEIGHT}. A reload sets it to what the config says.`,
    fields: [h("label", {}, "Weight ", input)],
    button: "Set weight",
    run: () => api.send("PUT", api.backendPath(pool, backend.url, "weight"), { weight: Number(input.value) }),
  });
  await refresh();
}
