import { CanceledError } from "../errors.ts";

// Files that strangers sent are read in threads. So many at once, and no more waiting.

interface Limits {
  /** Work that goes on at one time. */
  readonly atOnce: number;
  /** The same of one client, whose work keeps nobody else's waiting so. */
  readonly atOncePerClient: number;
}

interface Waiting {
  readonly client: string;
  readonly start: () => void;
}

/** Gives turns to work, first come, first served among clients that have none. */
class Turns {
  readonly #limits: Limits;
  /** How much of each client's goes on. */
  readonly #running = new Map<string, number>();
  readonly #waiting = new Set<Waiting>();

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** Runs the work when it is its turn. @throws CanceledError at the signal, if it still waits then */
  async run<Result>(
    client: string,
    signal: AbortSignal,
    work: () => Promise<Result>,
  ): Promise<Result> {
    await this.#turn(client, signal);
    try {
      return await work();
    } finally {
      this.#count(client, -1);
      this.#startNext();
    }
  }

  #turn(client: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(new CanceledError());
      const leave = () => {
        this.#waiting.delete(waiting);
        reject(new CanceledError());
      };
      const waiting = {
        client,
        start: () => {
          signal.removeEventListener("abort", leave);
          resolve();
        },
      };
      signal.addEventListener("abort", leave, { once: true });
      this.#waiting.add(waiting);
      this.#startNext();
    });
  }

  #startNext(): void {
    for (const waiting of this.#waiting) {
      const running = [...this.#running.values()].reduce((sum, count) => sum + count, 0);
      if (running >= this.#limits.atOnce) return;
      if ((this.#running.get(waiting.client) ?? 0) >= this.#limits.atOncePerClient) continue;
      this.#waiting.delete(waiting);
      this.#count(waiting.client, 1);
      waiting.start();
    }
  }

  #count(client: string, change: number): void {
    const count = (this.#running.get(client) ?? 0) + change;
    if (count === 0) this.#running.delete(client);
    else this.#running.set(client, count);
  }
}

/** As many files are being read as may be. The client should come again. */
export class BusyError extends Error {
  override readonly name = "BusyError";
  readonly retryAfterSeconds = 5;
}

/** Each reads a whole file: a second client's need not wait for the first one's. */
export const descriptions: Turns = new Turns({ atOnce: 2, atOncePerClient: 1 });
/** Each reads a header, in less than a second. */
export const checks: Turns = new Turns({ atOnce: 2, atOncePerClient: 2 });
/** Each reads a tokenizer and headers, in about a second. */
export const explainings: Turns = new Turns({ atOnce: 2, atOncePerClient: 1 });
/** Each reads a folder, which may be a large one. */
export const jobReads: Turns = new Turns({ atOnce: 2, atOncePerClient: 1 });

const mostPerClient = 32;
const mostInAll = 128;
const admitted = new Map<string, number>();

/**
 * Runs what ends with a file being read, fetching it included, unless too many
 * are already.
 *
 * @throws BusyError
 */
export async function admit<Result>(client: string, work: () => Promise<Result>): Promise<Result> {
  const own = admitted.get(client) ?? 0;
  const all = [...admitted.values()].reduce((sum, count) => sum + count, 0);
  if (own >= mostPerClient)
    throw new BusyError(`${own} of your files are being read. Wait for one of them to end.`);
  if (all >= mostInAll)
    throw new BusyError(`${all} files are being read, as many as may be. Come again soon.`);
  admitted.set(client, own + 1);
  try {
    return await work();
  } finally {
    const left = admitted.get(client)! - 1;
    if (left === 0) admitted.delete(client);
    else admitted.set(client, left);
  }
}
