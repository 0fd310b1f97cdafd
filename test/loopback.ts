import { createServer, type RequestListener } from "node:http";
import type { AddressInfo, Server, Socket } from "node:net";
import { createServer as createTcpServer } from "node:net";
import { onTestFinished } from "vitest";

/** An HTTP server on 127.0.0.1 for one test; its address, without a slash at the end. */
export async function serve(listener: RequestListener): Promise<string> {
  return listen(createServer(listener));
}

/** A TCP server for one test, for answers that no HTTP server gives; called with the first bytes. */
export async function serveRaw(listener: (socket: Socket) => void): Promise<string> {
  return listen(createTcpServer((socket) => socket.once("data", () => listener(socket))));
}

async function listen(server: Server): Promise<string> {
  const open = new Set<Socket>();
  server.on("connection", (socket) => {
    open.add(socket);
    socket.on("error", () => {}); // clients hang up, as they should
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`; // a TCP server has no other
}
