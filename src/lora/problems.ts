import { listed } from "../errors.ts";
import type { LoraFile } from "./file.ts";

/** Width of the released Z-Image models' layers: `dim` of their config.json. */
const releasedDim = 3840;

/** What reading a module's values told. */
export interface ModuleFacts {
  /** What can't be used of it, or null. */
  readonly damage: string | null;
  /** It changes nothing. */
  readonly isIdle: boolean;
  readonly alpha: number | null;
  readonly scale: number | null;
  /** Frobenius norm of its change. */
  readonly strength: number | null;
}

/** Why the LoRA can't be used, or null. */
export function findFault(lora: LoraFile, facts: ReadonlyMap<string, ModuleFacts>): string | null {
  const damaged = [...facts.values()].flatMap(({ damage }) => damage ?? []);
  if (damaged.length > 0) return listed(damaged);
  const allIdle = lora.modules.size > 0 && [...facts.values()].every(({ isIdle }) => isIdle);
  return allIdle ? "All its values are zero: it was saved before its training began." : null;
}

/** What is likely wrong with a LoRA that can be used, each a sentence. */
export function findProblems(
  { info, metadata, modules }: LoraFile,
  facts: ReadonlyMap<string, ModuleFacts>,
): string[] {
  const problems: string[] = [];
  const idle = [...facts].filter(([, { isIdle }]) => isIdle).map(([name]) => name);
  if (idle.length > 0 && idle.length < modules.size) {
    problems.push(`${idle.length} of ${modules.size} modules are zero: ${listed(idle)}.`);
  }
  if (info.baseModel !== null && !/z[-_ ]?image/i.test(info.baseModel)) {
    problems.push(`Its header says that it was trained on "${info.baseModel}", not on Z-Image.`);
  }
  const attention = [...modules].find(([name]) => /^layers\.\d+\.attention\.to_/.test(name));
  if (attention !== undefined && attention[1].inDim !== releasedDim) {
    problems.push(
      `It is for layers ${attention[1].inDim} wide; the released Z-Image models have ${releasedDim}.`,
    );
  }
  if (isFp8Trained(metadata)) {
    problems.push(
      "It was trained on a base in fp8: with a bf16 base its pictures differ a little from its previews.",
    );
  }
  return problems;
}

/** What kohya's and musubi's trainers note in the header. */
function isFp8Trained(metadata: Readonly<Record<string, string>>): boolean {
  return ["ss_fp8_base", "ss_fp8_base_unet", "ss_fp8_scaled"].some((key) =>
    /^true$/i.test(metadata[key] ?? ""),
  );
}
