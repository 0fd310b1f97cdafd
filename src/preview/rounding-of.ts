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

export interface RoundingWish {
  /** false: rounding is not wanted. */
  readonly asTrained: boolean;
  /** The absolute path of a file to take as the job's training adapter. */
  readonly trainingAdapter?: string | undefined;
}

export function roundingOf(
  { model, dtype }: JobConfig,
  id: string,
  { version, embedders }: Pick<Behaviour, "version" | "embedders">,
  { asTrained, trainingAdapter }: RoundingWish,
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
    adapterFile: trainingAdapter ?? null,
    accuracyRecoveryAdapter: model.accuracyRecoveryAdapter,
  });
  if (found === null) return { rounding: null, reason: `the job ran in ${dtype}, unquantised` };
  if (!asTrained)
    return {
      rounding: null,
      reason: "rounding was turned off (--no-as-trained, as_trained: false)",
    };
  if ("unknown" in found) return { rounding: null, reason: found.unknown };
  const rounding = {
    ...found,
    embedders: found.transformer !== null && (embedders ?? found.embedders),
  };
  return { rounding, reason: saysOf(rounding, dtype) };
}

function saysOf({ transformer, textEncoder, adapter }: Rounding, dtype: string): string {
  const parts = [
    ...(transformer === null ? [] : [`its transformer (${transformer})`]),
    ...(textEncoder === null ? [] : [`its text encoder (${textEncoder})`]),
  ];
  const rounded = parts.length === 0 ? "" : ` and rounded ${parts.join(" and ")}`;
  return `the job ran in ${dtype}${rounded}${adapter === null ? "" : " beside a training adapter"}`;
}
