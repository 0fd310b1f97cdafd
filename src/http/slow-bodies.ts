import type { Readable } from "node:stream";
import type { FastifyInstance } from "fastify";
import { ApiError } from "./api-error.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** The route takes large bodies, and minds their pace itself: see `paced`. */
    largeBody?: boolean;
  }
}

export interface BodyPace {
  /** A client that sends a byte a minute holds a connection; longer than this it doesn't. */
  readonly wholeMilliseconds: number;
  /** Nothing for so long in a large body. */
  readonly idleMilliseconds: number;
  /** A large body has the time of a small one and this many bytes each further second. */
  readonly bytesPerSecond: number;
  /** How long a client that was answered in the middle of its body may go on, to read the answer. */
  readonly lingerMilliseconds: number;
}

/** How slow a body may be on every server. */
export const bodyPace: BodyPace = {
  wholeMilliseconds: 60_000,
  idleMilliseconds: 30_000,
  bytesPerSecond: 32_768,
  lingerMilliseconds: 2000,
};

/** Ends connections that send a body too slowly, or on after they were answered. */
export function cutSlowBodies(app: FastifyInstance, pace: BodyPace): void {
  app.addHook("onRequest", async (request) => {
    const { raw } = request;
    // Gone already: it would never say so again.
    if (raw.complete || raw.destroyed) return;
    if (request.routeOptions.config.largeBody === true) return;
    const timer = setTimeout(() => {
      // Nobody listens for an answer in Fastify's words: the body is still being read.
      raw.socket.end("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n");
      raw.socket.destroySoon();
    }, pace.wholeMilliseconds).unref();
    const clear = () => clearTimeout(timer);
    raw.once("end", clear).once("close", clear);
  });
  app.addHook("onResponse", async ({ raw }) => {
    if (raw.complete || raw.destroyed) return;
    // Cut at once, many clients would see a broken connection and not the answer.
    raw.resume();
    // With it goes its connection.
    const timer = setTimeout(() => raw.destroy(), pace.lingerMilliseconds).unref();
    const clear = () => clearTimeout(timer);
    raw.once("end", clear).once("close", clear);
  });
}

/**
 * A large body's pieces as they come. Whoever stops in the middle leaves the
 * connection as it is, so that it can be answered.
 *
 * @throws ApiError when they come too slowly
 */
export async function* paced(body: Readable, pace: BodyPace): AsyncGenerator<Uint8Array> {
  const startedAt = performance.now();
  const pieces: AsyncIterator<Uint8Array> = body.iterator({ destroyOnReturn: false });
  let received = 0;
  try {
    for (;;) {
      const allowed = pace.wholeMilliseconds + (received / pace.bytesPerSecond) * 1000;
      const left = startedAt + allowed - performance.now();
      const next = await within(pieces.next(), Math.min(pace.idleMilliseconds, left));
      if (next.done === true) return;
      received += next.value.length;
      yield next.value;
    }
  } finally {
    // Not waited for: it ends after the piece that is late.
    pieces.return?.().catch(() => {});
  }
}

async function within<Value>(promise: Promise<Value>, milliseconds: number): Promise<Value> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const message = "The body comes too slowly. Check the connection and send it again.";
    timer = setTimeout(
      () => reject(new ApiError(408, "BODY_TOO_SLOW", message)),
      Math.max(0, milliseconds),
    );
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
