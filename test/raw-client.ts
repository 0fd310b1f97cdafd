import { once } from "node:events";
import type { Socket } from "node:net";
import { connect } from "node:net";

/** A client that sends bytes as they are, well-formed or not. */
export class RawClient {
  readonly #socket: Socket;
  /** What came back so far. */
  answer = "";
  /** All of it, when the server has closed the connection. */
  readonly closed: Promise<string>;

  constructor(url: string) {
    const { hostname, port } = new URL(url);
    this.#socket = connect(Number(port), hostname);
    this.#socket.on("data", (data) => {
      this.answer += data;
    });
    // A connection that the server cuts is a way to be closed.
    this.#socket.on("error", () => {});
    this.closed = new Promise((done) => {
      this.#socket.once("close", () => done(this.answer));
    });
  }

  get open(): boolean {
    return !this.#socket.closed;
  }

  /** Sends the parts in packets of their own, no faster than they are taken, as long as it may. */
  async send(...parts: readonly (string | Buffer)[]): Promise<void> {
    for (const part of parts) {
      if (this.#socket.destroyed) return;
      if (!this.#socket.write(part))
        await Promise.race([once(this.#socket, "drain"), this.closed]).catch(() => {});
      await new Promise((done) => setTimeout(done, 5));
    }
  }

  /** Waits until the server has said it. */
  async heard(text: RegExp): Promise<void> {
    while (!text.test(this.answer)) {
      if (!this.open) throw new Error(`closed after ${JSON.stringify(this.answer)}`);
      await new Promise((done) => setTimeout(done, 10));
    }
  }

  drop(): void {
    this.#socket.destroy();
  }
}

/** Sends the parts; answers what came back until the server closed the connection. */
export async function sendRaw(
  url: string,
  ...parts: readonly (string | Buffer)[]
): Promise<string> {
  const client = new RawClient(url);
  await client.send(...parts);
  return client.closed;
}
