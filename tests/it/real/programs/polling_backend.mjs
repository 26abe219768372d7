// A backend with sessions in its memory, as Socket.IO has them: a session begins with long polling and goes on over a
// WebSocket (the Engine.IO protocol, version 4). A request with the session of another backend gets a 400 response.
// Arguments: the port, and the name of the backend, which it sends with each message.

import crypto from "node:crypto";
import http from "node:http";

const [port, name] = process.argv.slice(2);
const sessions = new Map();

const server = http.createServer((request, response) => {
  const sid = new URL(request.url, "http://host").searchParams.get("sid");
  if (sid === null) return response.end(open());
  const session = sessions.get(sid);
  if (!session) return response.writeHead(400).end('{"code":1,"message":"Session ID unknown"}');
  let body = "";
  request.on("data", (piece) => (body += piece));
  request.on("end", () => {
    if (request.method === "POST") {
      session.queued.push(`4${name}:${body.slice(1)}`);
      flush(session);
      return response.end("ok");
    }
    session.poll = response;
    flush(session);
  });
});

function open() {
  const sid = crypto.randomUUID();
  sessions.set(sid, { queued: [], poll: undefined });
  return `0${JSON.stringify({ sid, upgrades: ["websocket"], name })}`;
}

// Answers the request that waits for a message, if there are both.
function flush(session) {
  if (!session.poll || session.queued.length === 0) return;
  session.poll.end(session.queued.shift());
  session.poll = undefined;
}

server.on("upgrade", (request, socket) => {
  const sid = new URL(request.url, "http://host").searchParams.get("sid");
  if (sid !== null && !sessions.has(sid)) {
    return socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  }
  const key = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  const accept = crypto.createHash("sha1").update(key).digest("base64");
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  let bytes = Buffer.alloc(0);
  socket.on("error", () => {});
  socket.on("end", () => socket.end());
  socket.on("data", (piece) => {
    bytes = Buffer.concat([bytes, piece]);
    // Only short text messages, which clients mask (RFC 6455 §5.2).
    while (bytes.length >= 6 && bytes.length >= 6 + (bytes[1] & 127)) {
      const end = 6 + (bytes[1] & 127);
      const mask = bytes.subarray(2, 6);
      const text = Buffer.from(bytes.subarray(6, end).map((byte, at) => byte ^ mask[at % 4])).toString();
      bytes = bytes.subarray(end);
      if (text === "2probe") send(socket, "3probe");
      else if (text.startsWith("4")) send(socket, `4${name}:${text.slice(1)}`);
    }
  });
});

function send(socket, text) {
  socket.write(Buffer.concat([Buffer.from([0x81, text.length]), Buffer.from(text)]));
}

server.listen(Number(port), "127.0.0.1");
