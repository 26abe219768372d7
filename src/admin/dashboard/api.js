// Calls of the admin API. The token, where there is one, stays in this module's memory: not in a URL, a cookie or a storage.

import { serverTime } from "./format.js";

/** Longest wait for a response to a read, and longest silence of the stream, which has at least a comment every 15 seconds. */
const RESPONSE_MS = 10_000;
const SILENCE_MS = 20_000;

let token = null;

/** The token is missing or wrong. */
export class Unauthorized extends Error {}

/** The API refused a call; `message` says why. */
export class Refused extends Error {}

export function setToken(value) {
  token = value;
}

export function hasToken() {
  return token !== null;
}

function headers(more = {}) {
  return token === null ? more : { ...more, authorization: `Bearer ${token}` };
}

async function request(method, path, body, signal) {
  const init = { method, headers: headers(), signal, cache: "no-store", credentials: "omit" };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers["content-type"] = "application/json";
  }
  const response = await fetch(path, init);
  serverTime(response.headers.get("date"));
  if (response.status === 401) throw new Unauthorized();
  if (!response.ok) throw new Refused(await reason(response));
  return response;
}

/** Why a call was refused: the detail of a problem (RFC 9457), and its list of errors. */
async function reason(response) {
  const text = await response.text();
  try {
    const problem = JSON.parse(text);
    const lines = [problem.detail ?? problem.title, ...(problem.errors ?? [])];
    return lines.filter(Boolean).join("\n");
  } catch {
    return text || `${response.status} ${response.statusText}`;
  }
}

/** Calls `run(signal, progress)`, and aborts it when `signal` does, or when there is no progress for `time` milliseconds. */
async function bounded(time, signal, run) {
  const controller = new AbortController();
  const abort = () => controller.abort();
  let timer = null;
  let isLate = false;
  const progress = () => {
    clearTimeout(timer);
    timer = setTimeout(() => { isLate = true; abort(); }, time);
  };
  if (signal?.aborted) abort();
  signal?.addEventListener("abort", abort);
  progress();
  try {
    return await run(controller.signal, progress);
  } catch (error) {
    throw isLate ? new Error(`nothing was received for ${time / 1000} seconds`) : error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

export function get(path, signal) {
  return bounded(RESPONSE_MS, signal, async (within) => (await request("GET", path, undefined, within)).json());
}

export function getText(path) {
  return bounded(RESPONSE_MS, null, async (within) => (await request("GET", path, undefined, within)).text());
}

export async function sendForText(method, path, body) {
  return (await request(method, path, body)).text();
}

export async function send(method, path, body) {
  const text = await sendForText(method, path, body);
  return text === "" ? null : JSON.parse(text);
}

export function backendPath(pool, backend, action) {
  return `/api/v1/pools/${encodeURIComponent(pool)}/backends/${encodeURIComponent(backend)}/${action}`;
}

/**
 * Follows `GET /api/v1/events` until `signal` aborts it or the process ends it. `EventSource` cannot send a token, so the stream is
 * read here. `on(kind, value)` is called for each event.
 */
export function follow(after, on, signal) {
  const query = after === null ? "" : `?after=${after}`;
  return bounded(SILENCE_MS, signal, async (within, progress) => {
    const response = await request("GET", `/api/v1/events${query}`, undefined, within);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      progress();
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) deliver(block, on);
    }
  });
}

function deliver(block, on) {
  let kind = "message";
  const data = [];
  for (const line of block.split("\n")) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line.replace(/\r$/, ""));
    if (name === "event") kind = value;
    if (name === "data") data.push(value);
  }
  if (data.length > 0) on(kind, JSON.parse(data.join("\n")));
}
