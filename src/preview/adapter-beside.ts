import type { GenerateInput, ProfileName } from "../job/request.ts";
import type { Rounding } from "../job/rounding.ts";
import { adapterName } from "../models/rounding-for.ts";
import type { JobConfig } from "./job-config.ts";
import type { Drawn } from "./samples.ts";
import { isMerged } from "./samples.ts";

type Lora = NonNullable<GenerateInput["loras"]>[number];

/**
 * What acted in a picture. The trainer draws without its training adapter, but for networks that compute
 * with the weights that the adapter is merged into: LoKr, until e44c34a9 (0.10.24), never took it
 * off (`_call_forward`), and DoRA's lengths are of rows with it, which rounded weights hold already.
 *
 * @param own the picture's LoRA at its multiplier; empty where there is none
 * @param multiplier of the network, whether or not it has a LoRA yet
 * @param drawn all of the picture's round
 * @param trainingAdapter a file to take as the job's
 * @returns why it is unknown, where it is
 */
export function lorasOf(
  config: JobConfig,
  model: string,
  profile: ProfileName,
  {
    own,
    multiplier,
    rounding,
    drawn,
    trainingAdapter,
  }: {
    own: readonly Lora[];
    multiplier: number;
    rounding: Rounding | null;
    drawn: readonly Drawn[];
    trainingAdapter: string | undefined;
  },
): Lora[] | { readonly unknown: string } {
  const { assistantLoraPath } = config.model;
  if (assistantLoraPath === null || multiplier === 0) return [...own];
  const type = config.network?.type;
  const isKept = type === "lokr" && profile !== "preview-0.10.25" && !isMerged(config, drawn);
  const isMeasured = type === "dora" && own.length > 0 && (rounding?.adapter ?? null) === null;
  if (!isKept && !isMeasured) return [...own];
  const path = trainingAdapter ?? adapterName(model, assistantLoraPath);
  if (typeof path === "object") return path;
  const adapter = (at: number) => ({ path, multiplier: at });
  return isKept ? [...own, adapter(1)] : [adapter(1), ...own, adapter(-1)];
}
