// The paths of catalogue.rs served by Node. Arguments: the port, and how long idle connections are kept, in ms.

import http from "node:http";

const block = Buffer.from(Array.from({ length: 65521 }, (_, i) => (Math.floor((i * i) / 3) + i) % 251));

function pattern(length) {
  return Buffer.concat(Array(Math.floor(length / block.length) + 1).fill(block)).subarray(0, length);
}

let isStopping = false;

const server = http.createServer((request, response) => {
  const [, kind, number] = request.url.split("?")[0].split("/");
  if (isStopping) response.setHeader("Connection", "close");
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => answer(response, kind, Number(number ?? 0), Buffer.concat(pieces)));
});

function answer(response, kind, number, body) {
  switch (kind) {
    case "echo":
      return sized(response, body);
    case "chunked": {
      const all = pattern(number);
      for (let at = 0; at < number; at += 10000) response.write(all.subarray(at, at + 10000));
      return response.end();
    }
    case "close":
      response.setHeader("Connection", "close");
      return sized(response, pattern(number));
    case "status":
      return response.writeHead(number, { ETag: '"e"' }).end();
    case "redirect":
      return response.writeHead(302, { Location: "/bytes/10", "Content-Length": 0 }).end();
    default:
      return sized(response, pattern(number));
  }
}

function sized(response, body) {
  response.setHeader("Content-Length", body.length);
  response.end(body);
}

server.keepAliveTimeout = Number(process.argv[3]);
server.listen(Number(process.argv[2]), "127.0.0.1");
process.on("SIGTERM", () => {
  isStopping = true;
  server.close(() => process.exit(0));
});
