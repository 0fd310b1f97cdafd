import * as ort from "onnxruntime-node";
import { DeviceLostError, messageOf } from "../errors.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { DeviceError, providerFor } from "./device.ts";
import { addFed } from "./fed-bytes.ts";
import type { Model } from "./graph.ts";
import type { ResidentWeights } from "./resident-weights.ts";
import type { Target } from "./target.ts";

// ONNX Runtime 1.30 sends its makers what it opens, and keeps an id of the machine
// for it below ~/.cache, unless this is set before the first session.
process.env.ORT_DISABLE_TELEMETRY = "1";

/** int64 values, for positions, lengths and shapes that are known at run time. */
export interface IntTensor {
  readonly data: BigInt64Array<ArrayBuffer>;
  readonly shape: readonly number[];
}

export type Feeds = Readonly<Record<string, Tensor | IntTensor | KeptTensor>>;

/** One loaded graph. It holds native memory: release it. */
export interface Session {
  /** Blocks the event loop while the graph runs; only the time between runs can be interrupted. */
  run(feeds: Feeds): Promise<Record<string, Tensor>>;
  release(): Promise<void>;
}

/** A loaded graph of which some results stay where they were computed. */
export interface KeepingSession<Kept extends string> {
  run(feeds: Feeds): Promise<{ kept: Record<Kept, KeptTensor>; results: Record<string, Tensor> }>;
  release(): Promise<void>;
}

/**
 * An f32 result that stays on its device if that can be (on WebGPU it can), else in memory, to be
 * fed to any session of the device. Dispose it: the garbage collector knows nothing of a device's
 * memory, and frees ours late.
 */
export class KeptTensor {
  /** @internal */
  readonly tensor: ort.Tensor;
  /** Of those that the session must dispose of before it goes. */
  readonly #alive: Set<KeptTensor> | undefined;

  /** @internal */
  constructor(tensor: ort.Tensor, alive?: Set<KeptTensor>) {
    this.tensor = tensor;
    this.#alive = alive;
    alive?.add(this);
  }

  /** In memory. Its data goes when it is disposed. */
  static of(tensor: Tensor): KeptTensor {
    return new KeptTensor(toOrt(tensor));
  }

  get shape(): readonly number[] {
    return this.tensor.dims;
  }

  /** A result that is in memory. */
  read(): Tensor {
    return fromOrt("kept", this.tensor);
  }

  dispose(): void {
    this.#alive?.delete(this);
    // Of a result in memory, `dispose` only forgets the buffer: a transfer to no bytes frees it.
    if (this.tensor.location === "cpu") this.read().data.buffer.transfer(0);
    this.tensor.dispose();
  }
}

/**
 * Weights are mapped from the files that they lie in, neither copied nor converted, because
 * - constant folding, which would widen each bf16 weight to an f32 copy, is off,
 * - prepacking, which copies each f32 weight to another layout, is off but for graphs
 *   that say they need it: integer products on a CPU work on nothing else, and
 * - there is no arena to keep what one run needed.
 *
 * Threads that have nothing to do sleep: by default they go round and round for
 * a while, on cores that the server or another worker needs.
 *
 * @internal
 */
export function sessionOptions({
  weightsRoot,
  packs,
}: Omit<Model, "bytes">): ort.InferenceSession.SessionOptions {
  return {
    enableCpuMemArena: false,
    logSeverityLevel: 3,
    extra: {
      session: {
        model_external_initializers_file_folder_path: weightsRoot,
        disable_prepacking: packs ? "0" : "1",
        intra_op: { allow_spinning: "0" },
      },
      optimization: { disable_specified_optimizers: "ConstantFolding" },
    },
  };
}

/**
 * Loads a graph from the bytes of its model file.
 *
 * @param weights of a graph for a target with resident ones; released after the session
 * @throws DeviceError if the device is not here, or has too little memory
 */
export async function openSession(
  model: Model,
  target: Target,
  weights?: ResidentWeights,
): Promise<Session> {
  if (weights === undefined && model.resident.length > 0)
    throw new RangeError("a graph with resident weights needs to be given them");
  // Asked for each run: where another session's weights found no room, these went too.
  const resident = async () => toOrtAll((await weights?.feedsFor(model.resident)) ?? {});
  await resident();
  const session = await create(model, target);
  return {
    run: async (feeds) =>
      Object.fromEntries(
        Object.entries(
          await run(session, target, { ...(await resident()), ...toOrtAll(feeds) }),
        ).map(([name, result]) => [name, fromOrt(name, result)]),
      ),
    release: () => session.release(),
  };
}

/**
 * The same, but the results named are kept where they are computed.
 *
 * @throws DeviceError if the device is not here.
 */
export async function openKeepingSession<Kept extends string>(
  model: Model,
  target: Target,
  names: readonly Kept[],
): Promise<KeepingSession<Kept>> {
  const session = await create(
    model,
    target,
    // On other devices results can't stay.
    target.device === "webgpu"
      ? { preferredOutputLocation: Object.fromEntries(names.map((name) => [name, "gpu-buffer"])) }
      : {},
  );
  const alive = new Set<KeptTensor>();
  return {
    async run(feeds) {
      const all = await run(session, target, toOrtAll(feeds));
      const kept = {} as Record<Kept, KeptTensor>;
      for (const name of names) kept[name] = new KeptTensor(all[name] as ort.Tensor, alive);
      const results = Object.entries(all)
        .filter(([name]) => !Object.hasOwn(kept, name))
        .map(([name, result]) => [name, fromOrt(name, result)]);
      return { kept, results: Object.fromEntries(results) };
    },
    async release() {
      // The runtime frees them through the session that made them: afterwards that ends the process.
      for (const tensor of alive) tensor.dispose();
      await session.release();
    },
  };
}

async function create(
  { bytes, ...model }: Model,
  { device }: Target,
  options: ort.InferenceSession.SessionOptions = {},
): Promise<ort.InferenceSession> {
  const provider = providerFor(device);
  try {
    return await ort.InferenceSession.create(bytes, {
      ...sessionOptions(model),
      executionProviders: [provider],
      ...options,
    });
  } catch (error) {
    if (device === "cpu") throw error;
    throw new DeviceError(
      `--device ${device}: ONNX Runtime could not start it: ${messageOf(error)}`,
      { cause: error },
    );
  }
}

/** @throws DeviceLostError if a device fails in the middle of it */
async function run(
  session: ort.InferenceSession,
  { device }: Target,
  feeds: Record<string, ort.Tensor>,
): Promise<ort.InferenceSession.OnnxValueMapType> {
  addFed(feeds);
  try {
    return await session.run(feeds);
  } catch (error) {
    if (device === "cpu") throw error;
    throw new DeviceLostError(device, error);
  }
}

function toOrtAll(feeds: Feeds): Record<string, ort.Tensor> {
  return Object.fromEntries(Object.entries(feeds).map(([name, feed]) => [name, toOrt(feed)]));
}

function toOrt(feed: Tensor | IntTensor | KeptTensor): ort.Tensor {
  if (feed instanceof KeptTensor) return feed.tensor;
  const { data, shape } = feed;
  return data instanceof Float32Array
    ? new ort.Tensor("float32", data, shape)
    : new ort.Tensor("int64", data, shape);
}

function fromOrt(name: string, result: ort.OnnxValue): Tensor {
  if (!(result instanceof ort.Tensor) || !(result.data instanceof Float32Array)) {
    throw new TypeError(`graph output ${name} is not an f32 tensor`);
  }
  // The runtime hands out its own ArrayBuffer, never a shared one.
  return { data: result.data as Float32Array<ArrayBuffer>, shape: result.dims };
}
