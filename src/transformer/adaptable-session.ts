import { LRUCache } from "lru-cache";
import type { Model } from "../onnx/graph.ts";
import type { Feeds, Session } from "../onnx/session.ts";
import { openSession } from "../onnx/session.ts";
import type { Target } from "../onnx/target.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { AdapterModules, AdapterShape } from "./adapter.ts";
import { adapterFeeds, shapeOf } from "./adapter.ts";

/** Sessions share the mapped weights; each adds about 50 MB for the real model. */
const mostSessions = 4;

/**
 * A graph with the sessions that run it. Where adapters stand is part of the
 * graph; their matrices are inputs. So LoRAs on the same modules swap without
 * a new session, a run without any pays nothing, and what a run computes never
 * depends on the runs before it.
 */
export class AdaptableSession {
  readonly #build: (adapted: ReadonlyMap<string, AdapterShape>) => Model;
  readonly #target: Target;
  /** Whether a module is in this graph. */
  readonly #holds: (module: string) => boolean;
  readonly #sessions = new LRUCache<string, { session: Session }>({ max: mostSessions });

  constructor(
    build: (adapted: ReadonlyMap<string, AdapterShape>) => Model,
    target: Target,
    holds: (module: string) => boolean,
  ) {
    this.#build = build;
    this.#target = target;
    this.#holds = holds;
  }

  async run(feeds: Feeds, adapter: AdapterModules): Promise<Record<string, Tensor>> {
    const own = [...adapter].filter(([name]) => this.#holds(name));
    const session = await this.#sessionFor(
      new Map(own.map(([name, module]) => [name, shapeOf(module)])),
    );
    const adapterValues = own.map(([name, module]) => adapterFeeds(name, module));
    return session.run(Object.assign({}, feeds, ...adapterValues));
  }

  async release(): Promise<void> {
    const sessions = [...this.#sessions.values()];
    this.#sessions.clear();
    for (const { session } of sessions) await session.release();
  }

  async #sessionFor(adapted: ReadonlyMap<string, AdapterShape>): Promise<Session> {
    const key = JSON.stringify([...adapted].toSorted(([a], [b]) => (a < b ? -1 : 1)));
    const known = this.#sessions.get(key);
    if (known !== undefined) return known.session;
    if (this.#sessions.size === mostSessions) await this.#sessions.pop()?.session.release();
    const session = await openSession(this.#build(adapted), this.#target);
    this.#sessions.set(key, { session });
    return session;
  }
}
