import { InputError } from "../errors.ts";
import type { LoraFile } from "./file.ts";
import { listed, mostListed } from "./listed.ts";

/** No module has a name longer than this; comparing longer ones takes its square. */
const longestHinted = 200;

/**
 * Checks that each module of a LoRA stands beside one of the model, with its
 * widths. One that matches nothing is an error, never a picture without it.
 *
 * @throws InputError listing all that doesn't fit
 */
export function matchLora(
  lora: LoraFile,
  modules: ReadonlyMap<string, { readonly inDim: number; readonly outDim: number }>,
): void {
  const faults: string[] = [];
  for (const [name, { loraA, loraB }] of lora.modules) {
    const module = modules.get(name);
    if (module === undefined) {
      // Only where it is read: thousands of names would take seconds.
      const hint =
        faults.length < mostListed && name.length <= longestHinted
          ? ` (the nearest name is ${nearest(name, modules.keys())})`
          : "";
      faults.push(`${name} is not in the model${hint}`);
      continue;
    }
    const inDim = loraA.shape[1]!;
    const outDim = loraB.shape[0]!;
    if (inDim !== module.inDim || outDim !== module.outDim) {
      faults.push(
        `${name} is ${inDim} to ${outDim} wide here and ${module.inDim} to ${module.outDim} in the model`,
      );
    }
  }
  if (faults.length === 0) return;
  const base = lora.info.baseModel === null ? "" : ` (its file says "${lora.info.baseModel}")`;
  throw new InputError(
    `${lora.file} does not fit this model: ${listed(faults)}. ` +
      `It was trained for another base${base}: choose the --model and --weights that it was trained on.`,
  );
}

function nearest(name: string, candidates: Iterable<string>): string {
  let best = { name: "none", distance: Number.POSITIVE_INFINITY };
  for (const candidate of candidates) {
    const distance = editDistance(name, candidate);
    if (distance < best.distance) best = { name: candidate, distance };
  }
  return best.name;
}

/** Levenshtein's distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
