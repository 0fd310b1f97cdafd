import { isDeepStrictEqual } from "node:util";
import type { GenerateRequest } from "../job/request.ts";
import { eraOfHeader } from "../models/eras.ts";
import { modelById } from "../models/registry.ts";
import type { ExportedRequest } from "../tools/exported.ts";
import type { Explaining } from "./explain.ts";
import { usualFor } from "./explain.ts";

/** What was explained, ready to be written for another program. */
export function exportedRequest(explaining: Explaining, request: GenerateRequest): ExportedRequest {
  const { explanation, effective, profile, prompt, schedule, headers } = explaining;
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
    rounding: roundingOf(explaining),
  };
}

function roundingOf({ rounding, explanation, headers }: Explaining): ExportedRequest["rounding"] {
  if (rounding === null) return null;
  const usual = usualFor(explanation.model, headers[0] ?? undefined);
  return isDeepStrictEqual(rounding, usual) ? "usual" : "other";
}
