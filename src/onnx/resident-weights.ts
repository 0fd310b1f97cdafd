import { openRegular, readExactly } from "../files/read.ts";
import type { DeviceMemory } from "./device-memory.ts";
import type { ResidentWeight } from "./graph.ts";
import type { Feeds, KeptTensor } from "./session.ts";

/** The weights of one network on a device, for all its sessions. Each goes there once, when the first session needs it. */
export class ResidentWeights {
  readonly #memory: DeviceMemory;
  readonly #held = new Map<string, KeptTensor>();

  constructor(memory: DeviceMemory) {
    this.#memory = memory;
  }

  /**
   * What a graph's weights are fed with. One weight at a time goes through our memory.
   *
   * @throws DeviceError if the device takes no more; then none of them is left there
   * @throws InputError if a file can't be read
   */
  async feedsFor(weights: readonly ResidentWeight[]): Promise<Feeds> {
    const missing = weights.filter(({ name }) => !this.#held.has(name));
    const longest = Math.max(0, ...missing.map(({ span }) => span.byteLength));
    const memory = new ArrayBuffer(longest);
    try {
      for (const { name, type, shape, span } of missing) {
        const bytes = new Uint8Array(memory, 0, span.byteLength);
        const { handle } = await openRegular(span.file, "file of weights");
        try {
          await readExactly(handle, bytes, span.offset, span.file);
        } finally {
          await handle.close();
        }
        this.#held.set(name, await this.#memory.put(type, bytes, shape));
      }
    } catch (error) {
      this.release();
      throw error;
    }
    return Object.fromEntries(weights.map(({ name }) => [name, this.#held.get(name)!]));
  }

  /** No session that was fed with them may run after it. */
  release(): void {
    for (const weight of this.#held.values()) weight.dispose();
    this.#held.clear();
  }
}
