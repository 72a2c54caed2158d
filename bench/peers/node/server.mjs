// Node's `ws`, without compression: the same job as the Python peers.
import http from "node:http";
import { WebSocketServer } from "ws";

const asked = process.argv.indexOf("--port");
const port = asked < 0 ? 0 : Number(process.argv[asked + 1]);
const sockets = new Map();
const keyOf = (url) => url.slice(url.lastIndexOf("/") + 1);

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const socket = sockets.get(keyOf(request.url));
    if (socket) socket.send(Buffer.concat(chunks), { binary: false });
    response.writeHead(socket ? 200 : 404, { "Content-Length": 0 });
    response.end();
  });
});

const pages = new WebSocketServer({ noServer: true, perMessageDeflate: false, clientTracking: false });
server.on("upgrade", (request, connection, head) => {
  pages.handleUpgrade(request, connection, head, (socket) => {
    const key = keyOf(request.url);
    sockets.set(key, socket);
    socket.on("error", () => socket.terminate());
    socket.on("close", () => {
      if (sockets.get(key) === socket) sockets.delete(key);
    });
  });
});

process.on("SIGTERM", () => {
  server.close(() => process.exit(0));
  for (const socket of sockets.values()) socket.close(1001);
  setTimeout(() => process.exit(0), 10000).unref();
});

server.listen({ port, host: "127.0.0.1", backlog: 4096 }, () => {
  const listening = server.address().port;
  console.log("ready " + JSON.stringify({ ws: listening, push: listening }));
});
