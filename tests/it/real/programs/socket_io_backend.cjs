// A Socket.IO server. Its sessions are in its memory. Argument: the port, which is its name.

const http = require("node:http");
const { Server } = require("socket.io");

const port = process.argv[2];
const server = http.createServer((_, response) => response.end("ok"));
new Server(server).on("connection", (socket) => {
  socket.on("say", (text, respond) => respond(`${port}:${text}`));
});
server.listen(Number(port), "127.0.0.1");
