import { LRUCache } from "lru-cache";
import type { DeviceCopies } from "../onnx/device-copies.ts";
import type { Model } from "../onnx/graph.ts";
import type { ResidentWeights } from "../onnx/resident-weights.ts";
import type { Feeds, Session } from "../onnx/session.ts";
import { openSession } from "../onnx/session.ts";
import type { Target } from "../onnx/target.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { AdapterModule, AdapterModules, AdapterShape } from "./adapter.ts";
import { adapterFeeds, shapeOf } from "./adapter.ts";
import type { Cuts } from "./cuts.ts";
import { uncut } from "./cuts.ts";

/** What a network's sessions have in common. */
export interface Shared {
  readonly target: Target;
  /** Undefined where the target's are mapped. */
  readonly weights: ResidentWeights | undefined;
  readonly copies: DeviceCopies;
}

/** What a graph is built for besides the adapters. */
interface Form {
  readonly captions: 1 | 2;
  readonly cuts: Cuts;
}

/** Builds a graph for the modules beside which adapters stand. */
type Build = (adapted: ReadonlyMap<string, AdapterShape>, form: Form) => Model;

/** Sessions of one graph that have no copy of the weights. */
const mostShared = 8;

/**
 * A graph with the sessions that run it. Where adapters stand is part of the
 * graph; their matrices are inputs. So LoRAs on the same modules swap without
 * a new session, a run without any pays nothing, and what a run computes never
 * depends on the runs before it.
 */
export class AdaptableSession {
  readonly #build: Build;
  /** Whether a module is in this graph. */
  readonly #holds: (module: string) => boolean;
  readonly #shared: Shared;
  readonly #sessions: LRUCache<string, { session: Session }>;

  constructor(build: Build, holds: (module: string) => boolean, shared: Shared) {
    this.#build = build;
    this.#holds = holds;
    this.#shared = shared;
    this.#sessions = new LRUCache({ max: mostShared });
  }

  async run(
    feeds: Feeds,
    adapter: AdapterModules,
    form: Partial<Form> = {},
  ): Promise<Record<string, Tensor>> {
    const own = [...adapter].filter(([name]) => this.#holds(name));
    const shapes = new Map(own.map(([name, module]) => [name, shapeOf(module)]));
    const session = await this.#sessionFor(shapes, { captions: 1, cuts: uncut, ...form });
    return session.run(this.#shared.copies.inPlace({ ...feeds, ...feedsOf(own) }));
  }

  async release(): Promise<void> {
    const sessions = [...this.#sessions.values()];
    this.#sessions.clear();
    for (const { session } of sessions) await session.release();
  }

  async #sessionFor(adapted: ReadonlyMap<string, AdapterShape>, form: Form): Promise<Session> {
    const key = JSON.stringify([form, ...[...adapted].toSorted(([a], [b]) => (a < b ? -1 : 1))]);
    const known = this.#sessions.get(key);
    if (known !== undefined) return known.session;
    const { target, weights } = this.#shared;
    const model = this.#build(adapted, form);
    const most = mostSessions(target, model);
    // Before another is opened: on a device without room for two.
    while (this.#sessions.size >= most) await this.#sessions.pop()?.session.release();
    const session = await openSession(model, target, weights);
    this.#sessions.set(key, { session });
    return session;
  }
}

/** The inputs of all these modules' adapters. */
export function feedsOf(modules: Iterable<readonly [string, AdapterModule]>): Feeds {
  return Object.assign({}, ...Array.from(modules, ([name, module]) => adapterFeeds(name, module)));
}

/**
 * Sessions share weights that are mapped or resident, and each adds some 50 MB of ours for the real model. Where each
 * copies the weights to its device for itself, or into an order of its own, there is room for one.
 */
function mostSessions({ device, weights }: Target, { packs }: Model): number {
  return (device === "cpu" && !packs) || weights === "resident" ? mostShared : 1;
}
