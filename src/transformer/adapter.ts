import type { Device } from "../onnx/device.ts";
import type { Feeds, Session } from "../onnx/session.ts";
import { openSession } from "../onnx/session.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { adapterInputs } from "./context.ts";
import type { linearModules } from "./weight-shapes.ts";

/** One module's part of an adapter: loraA [rank, in], loraB [out, rank], and the factor of their product. */
export interface AdapterModule {
  readonly loraA: Tensor;
  readonly loraB: Tensor;
  readonly scale: number;
}

/** The adapter of a request, by module name, the user's multiplier folded into each scale. */
export type AdapterModules = ReadonlyMap<string, AdapterModule>;

/**
 * A graph with the session that runs it. Which modules can carry an adapter is
 * part of the graph; the adapter's matrices are inputs. So LoRAs on the same
 * modules swap without a new session, and a run without any pays nothing.
 */
export class AdaptableSession {
  #session: Session | undefined;
  #adapted: ReadonlySet<string> = new Set();
  readonly #build: (adapted: ReadonlySet<string>) => Uint8Array;
  readonly #device: Device;
  readonly #modules: ReturnType<typeof linearModules>;

  constructor(
    build: (adapted: ReadonlySet<string>) => Uint8Array,
    device: Device,
    modules: ReturnType<typeof linearModules>,
  ) {
    this.#build = build;
    this.#device = device;
    this.#modules = modules;
  }

  async run(feeds: Feeds, adapter: AdapterModules): Promise<Record<string, Tensor>> {
    const session = await this.#sessionFor(adapter);
    return session.run({ ...feeds, ...this.#adapterFeeds(session, adapter) });
  }

  async release(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    await session?.release();
  }

  async #sessionFor(adapter: AdapterModules): Promise<Session> {
    const fits = [...adapter.keys()].every((module) => this.#adapted.has(module));
    if (this.#session !== undefined && fits) return this.#session;
    await this.release();
    this.#adapted = new Set([...this.#adapted, ...adapter.keys()]);
    this.#session = await openSession(this.#build(this.#adapted), this.#device);
    return this.#session;
  }

  #adapterFeeds(session: Session, adapter: AdapterModules): Feeds {
    const inputs = new Set(session.inputNames);
    const feeds: Record<string, Tensor> = {};
    for (const module of this.#adapted) {
      const names = adapterInputs(module);
      if (!inputs.has(names.loraA)) continue;
      const part = adapter.get(module) ?? this.#emptyModule(module);
      const rank = part.loraA.shape[0]!;
      feeds[names.loraA] = part.loraA;
      feeds[names.loraB] = part.loraB;
      feeds[names.scale] = { data: new Float32Array(rank).fill(part.scale), shape: [rank] };
    }
    return feeds;
  }

  /** Rank 0: the products are exact zeros. */
  #emptyModule(module: string): AdapterModule {
    const { inDim, outDim } = this.#modules.get(module)!;
    return {
      loraA: { data: new Float32Array(0), shape: [0, inDim] },
      loraB: { data: new Float32Array(0), shape: [outDim, 0] },
      scale: 0,
    };
  }
}
