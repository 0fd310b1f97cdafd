import type { Tensor } from "../tensor/tensor.ts";
import type { DeviceMemory } from "./device-memory.ts";
import type { Feeds, KeptTensor } from "./session.ts";

/** Copies on the device of what stays the same for many runs. Without a device's memory it does nothing. */
export class DeviceCopies {
  readonly #memory: DeviceMemory | null;
  readonly #copies = new Map<Tensor, KeptTensor>();

  constructor(memory: DeviceMemory | null) {
    this.#memory = memory;
  }

  /**
   * Puts the tensors of these feeds on the device that are not there yet. What was there and is not
   * among them goes first.
   *
   * @throws DeviceError if the device takes no more; then nothing of it is left there
   */
  async hold(feeds: Feeds): Promise<void> {
    if (this.#memory === null) return;
    const wanted = new Set(Object.values(feeds).filter(isTensor));
    for (const [tensor, copy] of this.#copies) {
      if (wanted.has(tensor)) continue;
      copy.dispose();
      this.#copies.delete(tensor);
    }
    try {
      for (const tensor of wanted) {
        if (this.#copies.has(tensor)) continue;
        const { buffer, byteOffset, byteLength } = tensor.data;
        const bytes = new Uint8Array(buffer, byteOffset, byteLength);
        this.#copies.set(tensor, await this.#memory.put("f32", bytes, tensor.shape));
      }
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /** The same feeds, with the copies in place of what was copied. */
  inPlace(feeds: Feeds): Feeds {
    if (this.#copies.size === 0) return feeds;
    return Object.fromEntries(
      Object.entries(feeds).map(([name, feed]) => [
        name,
        (isTensor(feed) ? this.#copies.get(feed) : undefined) ?? feed,
      ]),
    );
  }

  release(): void {
    for (const copy of this.#copies.values()) copy.dispose();
    this.#copies.clear();
  }
}

/** Not whole numbers: those are lengths and places, which the runtime reads on the CPU. */
function isTensor(feed: Feeds[string]): feed is Tensor {
  return "data" in feed && feed.data instanceof Float32Array;
}
