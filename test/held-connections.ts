import type { Socket } from "node:net";
import { connect } from "node:net";
import type { ServerProcess } from "./server-process.ts";

/** Connections of the kinds that a server could wait for when it stops. */
export class HeldConnections {
  readonly #sockets: readonly Socket[];

  private constructor(sockets: readonly Socket[]) {
    this.#sockets = sockets;
  }

  /**
   * Opens event streams of a request, which are heard before this returns; half an upload, half a
   * request, half a header; and one that is kept after its answer.
   */
  static async open(server: ServerProcess, id: string, streams: number): Promise<HeldConnections> {
    const head = (line: string, ...fields: string[]) =>
      `${[`${line} HTTP/1.1`, "Host: 127.0.0.1", ...fields].join("\r\n")}\r\n\r\n`;
    const json = "Content-Type: application/json";
    const binary = "Content-Type: application/octet-stream";
    const unfinished = [
      `${head("POST /v1/loras", binary, "Content-Length: 1000000")}half`,
      `${head("POST /v1/inference", json, "Content-Length: 1000")}{"model":`,
      "GET /health HTTP/1.1\r\nHost: 127.0",
    ].map((text) => say(server, text));
    const heard = [
      ...Array.from({ length: streams }, () => head(`GET /v1/requests/${id}/events`)),
      head("GET /health"),
    ].map(async (text) => {
      const socket = say(server, text);
      await new Promise((done, fail) => socket.once("data", done).once("close", fail));
      return socket;
    });
    return new HeldConnections([...unfinished, ...(await Promise.all(heard))]);
  }

  /** How many the server has not closed. */
  get open(): number {
    return this.#sockets.filter(({ closed }) => !closed).length;
  }

  drop(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

function say({ url }: ServerProcess, text: string): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  // One that the server cuts is no failure here.
  socket.on("error", () => {});
  socket.resume();
  socket.write(text);
  return socket;
}
