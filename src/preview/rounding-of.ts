import type { Rounding } from "../job/rounding.ts";
import { roundingFor } from "../models/rounding-for.ts";
import type { Behaviour } from "./behaviour.ts";
import type { JobConfig } from "./job-config.ts";

/** How a job's weights were rounded when it drew its previews, and how that is known. */
export interface JobRounding {
  readonly rounding: Rounding | null;
  /** Follows "because". */
  readonly reason: string;
}

/** @param asTrained false: rounding is not wanted */
export function roundingOf(
  { model, dtype }: JobConfig,
  id: string,
  { version, embedders }: Pick<Behaviour, "version" | "embedders">,
  asTrained: boolean,
): JobRounding {
  const found = roundingFor({
    model: id,
    trainerVersion: version,
    trainDtype: dtype,
    quantize: model.quantize,
    quantizeTe: model.quantizeTextEncoder,
    qtype: model.qtype,
    qtypeTe: model.qtypeTextEncoder,
    layerOffloading: model.layerOffloading,
    assistantLoraPath: model.assistantLoraPath,
    accuracyRecoveryAdapter: model.accuracyRecoveryAdapter,
  });
  if (found === null) return { rounding: null, reason: `the job ran in ${dtype}, unquantised` };
  if (!asTrained) return { rounding: null, reason: "--no-as-trained says so" };
  if ("unknown" in found) return { rounding: null, reason: found.unknown };
  const rounding = {
    ...found,
    embedders: found.transformer !== null && (embedders ?? found.embedders),
    // Where it is merged into weights that stay as they are, taking it off again leaves nothing.
    adapter: found.transformer === null ? null : found.adapter,
  };
  return { rounding, reason: saysOf(rounding, dtype) };
}

function saysOf({ transformer, textEncoder, adapter }: Rounding, dtype: string): string {
  const parts = [
    ...(transformer === null ? [] : [`its transformer (${transformer})`]),
    ...(textEncoder === null ? [] : [`its text encoder (${textEncoder})`]),
  ];
  const rounded = parts.length === 0 ? "" : ` and rounded ${parts.join(" and ")} to 8 bits`;
  return `the job ran in ${dtype}${rounded}${adapter === null ? "" : " beside a training adapter"}`;
}
