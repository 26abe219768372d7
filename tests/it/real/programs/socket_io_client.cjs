// Clients of socket_io_backend.cjs, all at the same time, by each of the transports. Each must always hear the backend where
// its session began. Arguments: the URL of the balancer, and the number of clients by each. Prints one line per client: its
// transports, the one in use at the end, and its backend.

const { io } = require("socket.io-client");

const [url, count] = process.argv.slice(2);
const TRANSPORTS = [["polling", "websocket"], ["polling"], ["websocket"]];
// Longer than the upgrade from polling takes.
const MESSAGES = 10;

function connected(socket) {
  return new Promise((resolve, reject) => {
    socket.on("connect", resolve);
    socket.on("connect_error", (error) => reject(new Error(`no connection: ${error.message}`)));
    socket.on("disconnect", (reason) => reject(new Error(`disconnected: ${reason}`)));
  });
}

// By the end of the upgrade, for those that upgrade.
function upgraded(socket, transports) {
  const engine = socket.io.engine;
  if (transports.length === 1 || engine.transport.name === "websocket") return Promise.resolve();
  return new Promise((resolve, reject) => {
    engine.on("upgrade", resolve);
    engine.on("upgradeError", (error) => reject(new Error(`no upgrade: ${error.message}`)));
  });
}

async function talk(transports, number) {
  // With `withCredentials` the client keeps cookies, as a browser does.
  const socket = io(url, { transports, withCredentials: true, forceNew: true, reconnection: false });
  await connected(socket);
  const ready = upgraded(socket, transports);
  let backend;
  for (let round = 0; round < MESSAGES; round++) {
    if (round === MESSAGES / 2) await ready;
    const heard = await socket.timeout(10_000).emitWithAck("say", `${number}.${round}`);
    const [name, text] = heard.split(":");
    backend ??= name;
    if (name !== backend || text !== `${number}.${round}`) throw new Error(`heard ${heard} from ${backend}`);
  }
  const used = socket.io.engine.transport.name;
  socket.removeAllListeners("disconnect");
  socket.disconnect();
  return `${transports.join("+")} ${used} ${backend}`;
}

async function main() {
  const numbers = [...Array(Number(count)).keys()];
  const all = TRANSPORTS.flatMap((transports) => numbers.map((number) => talk(transports, number)));
  for (const line of await Promise.all(all)) console.log(line);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
