// Clients of polling_backend.mjs, all at the same time. Each opens a session, sends and receives by long polling, upgrades
// to a WebSocket, and must stay with its backend by the cookie `lb`. Then as many begin with a WebSocket and have their
// cookie from the 101 response. Arguments: the URL of the balancer, and the number of clients. Prints one line per client:
// how it began, and its backend.

import crypto from "node:crypto";
import http from "node:http";

const [url, count] = process.argv.slice(2);
const path = "/socket.io/?EIO=4";

function check(holds, what) {
  if (!holds) throw new Error(what);
}

// The cookie that a response sets, or the one that there was.
function cookieOf(response, before) {
  const lines = response.headers["set-cookie"] ?? [];
  const cookie = lines.find((line) => line.startsWith("lb="))?.split(";")[0];
  check(!(before && cookie), `a second cookie was set: ${cookie}`);
  return before ?? cookie;
}

function ask(agent, method, target, cookie, body) {
  return new Promise((resolve, reject) => {
    const headers = cookie ? { Cookie: cookie } : {};
    const request = http.request(url + target, { agent, method, headers }, (response) => {
      let text = "";
      response.on("data", (piece) => (text += piece));
      response.on("end", () => resolve({ status: response.statusCode, text, cookie: cookieOf(response, cookie) }));
    });
    request.on("error", reject);
    request.end(body);
  });
}

function webSocket(target, cookie) {
  return new Promise((resolve, reject) => {
    const headers = {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": 13,
      "Sec-WebSocket-Key": crypto.randomBytes(16).toString("base64"),
      ...(cookie && { Cookie: cookie }),
    };
    const request = http.request(url + target, { headers, agent: false });
    request.on("upgrade", (response, socket, head) => resolve(messages(socket, head, cookieOf(response, cookie))));
    request.on("response", (response) => reject(new Error(`no upgrade: ${response.statusCode}`)));
    request.on("error", reject);
    request.end();
  });
}

// An open WebSocket for short text messages, each of which gets one response.
function messages(socket, head, cookie) {
  let bytes = head;
  let wake = () => {};
  const use = (piece) => {
    bytes = Buffer.concat([bytes, piece]);
    wake();
  };
  socket.on("data", use);
  socket.on("error", () => {});
  const say = (text) => {
    const mask = crypto.randomBytes(4);
    const masked = Buffer.from(text).map((byte, at) => byte ^ mask[at % 4]);
    socket.write(Buffer.concat([Buffer.from([0x81, 0x80 | text.length]), mask, masked]));
  };
  const hear = async () => {
    while (bytes.length < 2 || bytes.length < 2 + bytes[1]) await new Promise((resolve) => (wake = resolve));
    const text = bytes.subarray(2, 2 + bytes[1]).toString();
    bytes = bytes.subarray(2 + bytes[1]);
    return text;
  };
  return { say, hear, cookie, end: () => socket.destroy() };
}

async function byPolling(number) {
  // New connections for each request, so that no connection keeps the client at its backend.
  const agent = new http.Agent({ keepAlive: false });
  const opened = await ask(agent, "GET", `${path}&transport=polling`);
  check(opened.status === 200 && opened.cookie, `no session or no cookie: ${JSON.stringify(opened)}`);
  const { sid, name } = JSON.parse(opened.text.slice(1));
  const target = `${path}&transport=polling&sid=${sid}`;
  for (let round = 0; round < 5; round++) {
    const heard = ask(agent, "GET", target, opened.cookie);
    const said = await ask(agent, "POST", target, opened.cookie, `4${number}.${round}`);
    check(said.status === 200, `POST: ${said.status} ${said.text}`);
    const { status, text } = await heard;
    check(status === 200 && text === `4${name}:${number}.${round}`, `GET: ${status} ${text}`);
  }
  const socket = await webSocket(`${path}&transport=websocket&sid=${sid}`, opened.cookie);
  socket.say("2probe");
  check((await socket.hear()) === "3probe", "no probe");
  socket.say("5");
  await echo(socket, name, number);
  return `polling ${name}`;
}

async function byWebSocket(number) {
  const first = await webSocket(`${path}&transport=websocket`);
  check(first.cookie, "the 101 response has no cookie");
  first.say("4who");
  const name = (await first.hear()).slice(1).split(":")[0];
  await echo(first, name, number);
  // After a lost connection.
  await echo(await webSocket(`${path}&transport=websocket`, first.cookie), name, number);
  return `websocket ${name}`;
}

async function echo(socket, name, number) {
  socket.say(`4${number}`);
  const text = await socket.hear();
  check(text === `4${name}:${number}`, `${text} is not from ${name}`);
  socket.end();
}

const numbers = [...Array(Number(count)).keys()];
for (const client of [byPolling, byWebSocket]) {
  for (const line of await Promise.all(numbers.map(client))) console.log(line);
}
