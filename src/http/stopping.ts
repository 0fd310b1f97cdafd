import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { FastifyInstance } from "fastify";

/** What is being answered when the server stops, and clients that read slowly, get this long. */
const drainMilliseconds = 10_000;

/**
 * Ends what would keep a server that stops: requests that are half here at
 * once, connections when their answer is sent, everything else after ten seconds.
 *
 * @returns fires when the server stops: answers without an end of their own end then
 */
export function endConnectionsAtStop(app: FastifyInstance): AbortSignal {
  const stopping = new AbortController();
  const open = new Set<IncomingMessage>();
  const sockets = new Set<Socket>();
  app.server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  app.addHook("onRequest", async ({ raw }, reply) => {
    open.add(raw);
    reply.raw.once("close", () => open.delete(raw));
  });
  app.addHook("onResponse", async ({ raw }) => {
    // It would be kept for another request, which nobody answers.
    if (stopping.signal.aborted) raw.socket.destroySoon();
  });
  app.addHook("preClose", async () => {
    stopping.abort();
    const answering = [...open].filter(({ complete }) => complete).map(({ socket }) => socket);
    for (const socket of sockets) if (!answering.includes(socket)) socket.destroy();
    setTimeout(() => {
      for (const socket of sockets) socket.destroy();
    }, drainMilliseconds).unref();
  });
  return stopping.signal;
}
