import { InputError, listed, mostListed } from "../errors.ts";
import type { LoraFile } from "./file.ts";
import { nearestName } from "./hints.ts";

/** What a LoRA's module is checked against; a norm has no `inDim`. */
interface AdaptableModule {
  readonly inDim: number | null;
  readonly outDim: number;
  readonly hasBias: boolean;
}

/**
 * Checks that each module of a LoRA stands beside one of the model, with its
 * widths. One that matches nothing is an error, never a picture without it.
 *
 * @throws InputError listing all that doesn't fit
 */
export function matchLora(
  lora: Pick<LoraFile, "file" | "info" | "modules">,
  modules: ReadonlyMap<string, AdaptableModule>,
): void {
  const faults: string[] = [];
  for (const [name, { inDim, outDim, delta, biasDelta }] of lora.modules) {
    const module = modules.get(name);
    if (module === undefined) {
      // Only where it is read: thousands of names would take seconds.
      const nearest = faults.length < mostListed ? nearestName(name, modules.keys()) : undefined;
      const hint = nearest === undefined ? "" : ` (the nearest name is ${nearest})`;
      faults.push(`${name} is not in the model${hint}`);
      continue;
    }
    if (biasDelta !== null && !module.hasBias) {
      faults.push(`${name} has a diff_b here and no bias in the model`);
    }
    const isSame = (delta === null || inDim === module.inDim) && outDim === module.outDim;
    if (isSame) continue;
    const isTransposed =
      delta?.kind === "lora" &&
      delta.loraA.shape[0] === module.inDim &&
      delta.loraB.shape[1] === module.outDim;
    const here = delta === null ? outDim : widths(inDim, outDim);
    faults.push(
      `${name} is ${here} wide here and ${widths(module.inDim, module.outDim)} in the model` +
        (isTransposed ? ": its matrices are transposed" : ""),
    );
  }
  if (faults.length === 0) return;
  const base = lora.info.baseModel === null ? "" : ` (its file says "${lora.info.baseModel}")`;
  throw new InputError(
    `${lora.file} does not fit this model: ${listed(faults)}. ` +
      `It was trained for another base${base}: choose the model and the weights that it was trained on.`,
  );
}

/** A norm has one width. */
function widths(inDim: number | null, outDim: number): string {
  return inDim === null ? `${outDim}` : `${inDim} to ${outDim}`;
}
