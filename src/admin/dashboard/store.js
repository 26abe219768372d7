// What the page knows: the last status, the history and the events. Pages read it, and are told when it has changed.

import * as api from "./api.js";

/** Samples and events that are kept: 15 minutes of one sample a second, and what the process keeps of its log. */
const SAMPLES = 900;
const EVENTS = 512;
/** The status of many backends is long: it is asked for less often. */
const MANY_BACKENDS = 60;

export const store = {
  status: null,
  /** The traffic of each backend since the status before: requests and failures a second, by pool and URL. */
  rates: new Map(),
  samples: [],
  events: [],
};

const listeners = new Set();
let previous = null;
let abort = null;

/** Calls `listener` after each change, until the returned function is called. */
export function subscribe(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function changed() {
  for (const listener of listeners) listener();
}

/** Loads everything; throws when the API refuses it. */
export async function load(signal) {
  const [status, history] = await Promise.all([api.get("/api/v1/status", signal), api.get("/api/v1/history", signal)]);
  takeStatus(status);
  store.samples = history.samples.slice(-SAMPLES);
  store.events = history.events.slice(-EVENTS);
  changed();
}

/** Asks for the status now: after an action. */
export async function refresh() {
  takeStatus(await api.get("/api/v1/status"));
  changed();
}

/** Which process it is: in a container each one has the same id. */
function identity({ process }) {
  return `${process.pid} ${process.started}`;
}

function takeStatus(status) {
  const of = identity(status);
  const now = performance.now();
  const counts = new Map();
  for (const pool of status.pools) {
    for (const backend of pool.backends) {
      counts.set(`${pool.name} ${backend.url}`, [backend.attempts, backend.failures]);
    }
  }
  if (previous !== null && previous.of === of && now - previous.at > 200) {
    const seconds = (now - previous.at) / 1000;
    store.rates = new Map();
    for (const [key, [attempts, failures]] of counts) {
      const before = previous.counts.get(key);
      if (before === undefined || attempts < before[0]) continue;
      store.rates.set(key, {
        attempts: (attempts - before[0]) / seconds,
        failures: Math.max(0, failures - before[1]) / seconds,
      });
    }
  }
  if (previous === null || now - previous.at > 200) previous = { at: now, of, counts };
  store.status = status;
}

/** Keeps the store up to date until `stop`. `report(error)` gets `null` while the process responds. */
export function start(report) {
  abort?.abort();
  abort = new AbortController();
  const { signal } = abort;
  poll(report, signal);
  stream(report, signal);
}

export function stop() {
  abort?.abort();
  abort = null;
}

async function poll(report, signal) {
  while (!signal.aborted) {
    const backends = (store.status?.pools ?? []).reduce((sum, pool) => sum + pool.backends.length, 0);
    await sleep(backends > MANY_BACKENDS ? 5000 : 2000, signal);
    if (document.hidden || signal.aborted) continue;
    try {
      takeStatus(await api.get("/api/v1/status", signal));
      changed();
    } catch (error) {
      if (!signal.aborted) report(error);
    }
  }
}

async function stream(report, signal) {
  let wait = 500;
  let isLoaded = true;
  while (!signal.aborted) {
    try {
      // What was missed meanwhile; the process may also be another one, whose history and events begin anew.
      if (!isLoaded) await load(signal);
      isLoaded = false;
      const last = store.events.at(-1)?.id ?? null;
      await api.follow(last, (kind, value) => {
        wait = 500;
        report(null);
        if (kind === "sample") push(store.samples, value, SAMPLES);
        if (kind === "event") push(store.events, value, EVENTS);
        changed();
      }, signal);
      throw new Error("the process closed the stream");
    } catch (error) {
      if (signal.aborted) return;
      report(error);
    }
    await sleep(wait, signal);
    wait = Math.min(wait * 2, 5000);
  }
}

function push(list, value, bound) {
  list.push(value);
  if (list.length > bound) list.splice(0, list.length - bound);
}

function sleep(time, signal) {
  return new Promise((resolve) => {
    // A listener that stayed would be one more after each pause, for as long as the page is open.
    const end = () => { clearTimeout(timer); signal.removeEventListener("abort", end); resolve(); };
    const timer = setTimeout(end, time);
    signal.addEventListener("abort", end);
  });
}
