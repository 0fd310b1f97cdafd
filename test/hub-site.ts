import { once } from "node:events";
import type { Server } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { lora } from "./lora-site.ts";

/** A hub for a whole test file: `o/open` is for everybody, `o/gated` for those who have one of the tokens. */
export class HubSite {
  readonly #server: Server;
  /** Authorization headers, as they came. */
  readonly authorizations: (string | undefined)[] = [];

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(tokens: readonly string[]): Promise<HubSite> {
    const hub = new HubSite(
      createServer(({ url = "", headers }, response) => {
        const { authorization } = headers;
        hub.authorizations.push(authorization);
        const mayRead = tokens.some((token) => authorization === `Bearer ${token}`);
        if (url.includes("/o/gated/") && !mayRead) response.writeHead(401).end();
        else response.writeHead(200, { "content-length": lora.length }).end(lora);
      }),
    );
    hub.#server.listen(0, "127.0.0.1");
    await once(hub.#server, "listening");
    return hub;
  }

  /** What a server needs to take it for the hub. */
  get environment(): Readonly<Record<string, string>> {
    const { port } = this.#server.address() as AddressInfo; // a TCP server's address
    return {
      HF_ENDPOINT: `http://127.0.0.1:${port}`,
      RETAKE_ALLOW_HTTP: "true",
      RETAKE_ALLOW_ADDRESSES: "127.0.0.1",
    };
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
