import type { Rounding } from "../job/rounding.ts";
import type { Renderer } from "../preview/renderer.ts";
import type { Pipelines } from "./pipelines.ts";
import type { Stage } from "./stages.ts";

/**
 * Draws with the pipelines that this worker keeps for all of its jobs; they stay when it is disposed
 * of. Weights that the operator has rounded to 8 bits would make every retake another picture: these
 * are not, unless the device has no room for others.
 */
export function rendererOf(
  pipelines: Pipelines,
  { signal, onStage }: { readonly signal: AbortSignal; readonly onStage: (stage: Stage) => void },
): Renderer {
  const open = (model: string, rounding: Rounding | null) => {
    onStage("loading");
    return pipelines.get(model, rounding, signal, { unrounded: true });
  };
  return {
    async render(model, rounding, request, options = {}) {
      const { pipeline } = await open(model, rounding);
      return pipeline.generate(request, { signal, onStage, ...options });
    },
    fingerprint: async (model, rounding) => (await open(model, rounding)).fingerprint,
    [Symbol.asyncDispose]: async () => {},
  };
}
