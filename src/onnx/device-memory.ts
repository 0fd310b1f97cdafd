import * as ort from "onnxruntime-node";
import { messageOf } from "../errors.ts";
import { DeviceError } from "./device.ts";
import { GraphBuilder, noWeights } from "./graph.ts";
import type { ElementType } from "./model-proto.ts";
import type { KeepingSession } from "./session.ts";
import { KeptTensor, openKeepingSession } from "./session.ts";
import type { Target } from "./target.ts";

/**
 * Tensors that lie on a device, to be fed to any of its sessions. The runtime frees a tensor with the
 * session that made it, and the device with its last session: so those that copy stay open.
 */
export class DeviceMemory {
  readonly #target: Target;
  /** By type and number of dimensions. */
  readonly #copiers = new Map<string, KeepingSession<"copy">>();

  constructor(target: Target) {
    this.#target = target;
  }

  /**
   * Copies a tensor to the device. Dispose of it when nothing uses it any more.
   *
   * @param bytes as a file holds them; they may change afterwards
   * @throws DeviceError if the device takes no more
   */
  async put(
    type: ElementType,
    bytes: Uint8Array<ArrayBuffer>,
    shape: readonly number[],
  ): Promise<KeptTensor> {
    const copier = await this.#copierOf(type, shape.length);
    try {
      const { kept } = await copier.run({ value: new KeptTensor(hostTensor(type, bytes, shape)) });
      return kept.copy;
    } catch (error) {
      const { device } = this.#target;
      throw new DeviceError(
        `--device ${device}: a tensor of ${bytes.length} bytes could not be put on the device, most likely because its memory is full. ` +
          `Use --storage int8, which takes the least memory, a smaller picture, or --device cpu. The runtime says: ${messageOf(error)}`,
        { cause: error },
      );
    }
  }

  /** After it, nothing that was put here may be used. */
  async release(): Promise<void> {
    const copiers = [...this.#copiers.values()];
    this.#copiers.clear();
    for (const copier of copiers) await copier.release();
  }

  async #copierOf(type: ElementType, rank: number): Promise<KeepingSession<"copy">> {
    const key = `${type} ${rank}`;
    let copier = this.#copiers.get(key);
    if (copier === undefined) {
      const graph = new GraphBuilder("copy", noWeights, this.#target);
      const shape = Array.from({ length: rank }, (_, i) => `size.${i}`);
      graph.output("copy", type, shape, graph.input("value", type, shape));
      copier = await openKeepingSession(graph.finish(), this.#target, ["copy"]);
      this.#copiers.set(key, copier);
    }
    return copier;
  }
}

function hostTensor(
  type: ElementType,
  { buffer, byteOffset, byteLength }: Uint8Array<ArrayBuffer>,
  shape: readonly number[],
): ort.Tensor {
  if (type === "f32")
    return new ort.Tensor("float32", new Float32Array(buffer, byteOffset, byteLength / 4), shape);
  if (type === "u8")
    return new ort.Tensor("uint8", new Uint8Array(buffer, byteOffset, byteLength), shape);
  if (type !== "f16") throw new RangeError(`${type} does not go to a device`);
  const bits = new Uint16Array(buffer, byteOffset, byteLength / 2);
  // The runtime's JavaScript hands a Float16Array on, of which its native part sees no bytes; it does see these.
  return Object.defineProperty(new ort.Tensor("float16", bits, shape), "data", { value: bits });
}
