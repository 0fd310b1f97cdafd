import type { WeightLookup } from "../onnx/graph.ts";
import { openSession } from "../onnx/session.ts";
import type { Target } from "../onnx/target.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { VaeConfig } from "./config.ts";
import { buildVaeDecoder } from "./graph.ts";

export interface VaeDecoder {
  /** Latents [1, channels, h, w] to a picture [3, H, W] in [0, 1], before rounding. */
  decode(latents: Tensor): Promise<Tensor>;
  release(): Promise<void>;
}

/** Loads the decoder. Release it: it holds native memory. */
export async function openVaeDecoder(
  config: VaeConfig,
  lookup: WeightLookup,
  target: Target,
): Promise<VaeDecoder> {
  // One session alone has them, so it may as well own them.
  const own: Target = { ...target, weights: "mapped" };
  const session = await openSession(buildVaeDecoder(config, lookup, own), own);
  return {
    async decode(latents) {
      const { image } = await session.run({ latents });
      return { data: image!.data, shape: image!.shape.slice(1) };
    },
    release: () => session.release(),
  };
}
