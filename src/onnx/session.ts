import * as ort from "onnxruntime-node";
import { messageOf } from "../errors.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { DeviceError, providerFor } from "./device.ts";
import type { Model } from "./graph.ts";
import type { Target } from "./target.ts";

/** int64 values, for positions, lengths and shapes that are known at run time. */
export interface IntTensor {
  readonly data: BigInt64Array<ArrayBuffer>;
  readonly shape: readonly number[];
}

export type Feeds = Readonly<Record<string, Tensor | IntTensor>>;

/** One loaded graph. It holds native memory: release it. */
export interface Session {
  /** Blocks the event loop while the graph runs; only the time between runs can be interrupted. */
  run(feeds: Feeds): Promise<Record<string, Tensor>>;
  release(): Promise<void>;
}

/**
 * Loads a graph from the bytes of its model file. Its weights are mapped from
 * the files that they lie in, neither copied nor converted, because
 * - constant folding, which would widen each bf16 weight to an f32 copy, is off,
 * - prepacking, which copies each f32 weight to another layout, is off, and
 * - there is no arena to keep what one run needed.
 *
 * Threads that have nothing to do sleep: by default they go round and round for
 * a while, on cores that the server or another worker needs.
 *
 * @throws DeviceError if the device is not here.
 */
export async function openSession(
  { bytes, weightsRoot }: Model,
  { device }: Target,
): Promise<Session> {
  const provider = providerFor(device);
  let session: ort.InferenceSession;
  try {
    session = await ort.InferenceSession.create(bytes, {
      executionProviders: [provider],
      enableCpuMemArena: false,
      logSeverityLevel: 3,
      extra: {
        session: {
          model_external_initializers_file_folder_path: weightsRoot,
          disable_prepacking: "1",
          intra_op: { allow_spinning: "0" },
        },
        optimization: { disable_specified_optimizers: "ConstantFolding" },
      },
    });
  } catch (error) {
    if (device === "cpu") throw error;
    throw new DeviceError(
      `--device ${device}: ONNX Runtime could not start it: ${messageOf(error)}`,
      { cause: error },
    );
  }
  return {
    async run(feeds) {
      const results = await session.run(
        Object.fromEntries(Object.entries(feeds).map(([name, feed]) => [name, toOrt(feed)])),
      );
      return Object.fromEntries(
        Object.entries(results).map(([name, result]) => [name, fromOrt(name, result)]),
      );
    },
    release: () => session.release(),
  };
}

function toOrt({ data, shape }: Tensor | IntTensor): ort.Tensor {
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
