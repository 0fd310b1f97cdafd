import { CanceledError } from "../errors.ts";

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
export class Turns {
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
