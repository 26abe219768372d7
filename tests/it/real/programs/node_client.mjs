// Requests by Node: an agent that keeps connections, fetch, and fetch with pipelining. The argument is the URL of the
// balancer. Fails with an exception.

import assert from "node:assert/strict";
import http from "node:http";

const url = process.argv[2];

function get(agent, path) {
  return new Promise((resolve, reject) => {
    const request = http.get(url + path, { agent }, (response) => {
      const pieces = [];
      response.on("data", (piece) => pieces.push(piece));
      response.on("error", reject);
      response.on("end", () => {
        const body = Buffer.concat(pieces);
        resolve({ status: response.statusCode, body, isReused: request.reusedSocket });
      });
    });
    request.on("error", reject);
  });
}

async function keepsConnections() {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  for (let turn = 0; turn < 30; turn += 1) {
    const { status, body, isReused } = await get(agent, turn % 2 ? "/chunked/20000" : "/bytes/300");
    assert.deepEqual([status, body.length, isReused], [200, turn % 2 ? 20000 : 300, turn > 0]);
  }
  agent.destroy();
}

async function fetches() {
  const body = new Uint8Array(200000).map((_, at) => at % 251);
  const stream = new ReadableStream({
    start(controller) {
      for (let at = 0; at < body.length; at += 9000) controller.enqueue(body.subarray(at, at + 9000));
      controller.close();
    },
  });
  const echo = await fetch(`${url}/echo`, { method: "POST", body: stream, duplex: "half" });
  assert.equal(Buffer.compare(Buffer.from(await echo.arrayBuffer()), Buffer.from(body)), 0);
  const redirected = await fetch(`${url}/redirect`);
  assert.deepEqual([redirected.status, redirected.url], [200, `${url}/bytes/10`]);
  await redirected.arrayBuffer();
  assert.equal((await fetch(`${url}/status/204`)).status, 204);
}

// Node does not export the agent of its fetch; an instance of it is known under this symbol once fetch was called.
async function pipelines() {
  const { constructor: Agent } = globalThis[Symbol.for("undici.globalDispatcher.1")];
  const dispatcher = new Agent({ connections: 1, pipelining: 10 });
  const answers = Array.from({ length: 100 }, async (_, number) => {
    const answer = await fetch(`${url}/bytes/${number}`, { dispatcher });
    return (await answer.arrayBuffer()).byteLength;
  });
  assert.deepEqual(await Promise.all(answers), Array.from({ length: 100 }, (_, number) => number));
  await dispatcher.close();
}

await keepsConnections();
await fetches();
await pipelines();
process.exit(0);
