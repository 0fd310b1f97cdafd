import type { GenerateRequest } from "../job/request.ts";
import { eraOfHeader } from "../models/eras.ts";
import { modelById } from "../models/registry.ts";
import type { ExportedRequest } from "../tools/exported.ts";
import type { Explaining } from "./explain.ts";

/** What was explained, ready to be written for another program. */
export function exportedRequest(
  { explanation, effective, profile, prompt, schedule, headers }: Explaining,
  request: GenerateRequest,
): ExportedRequest {
  return {
    model: modelById(explanation.model),
    profile,
    prompt,
    negativePrompt: request.negativePrompt,
    width: effective.width,
    height: effective.height,
    steps: effective.steps,
    guidanceScale: effective.guidanceScale,
    guidanceWeight: effective.guidanceWeight,
    seed: effective.seed,
    // An update between equal levels changes nothing.
    sigmas: [...new Set(schedule.sigmas)],
    shift: explanation.steps.shift,
    loras: explanation.loras.map(({ network_multiplier: multiplier, format, network }, i) => {
      const header = headers[i] ?? null;
      const era = header === null ? null : eraOfHeader(header);
      return {
        path: request.loras[i]!.path,
        multiplier,
        format,
        network,
        era: era === null || "none" in era ? null : era.profile,
      };
    }),
    asTrained: explanation.as_trained !== null,
  };
}
