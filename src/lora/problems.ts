import type { InputError } from "../errors.ts";
import type { LoraFile } from "./file.ts";
import { listed } from "./listed.ts";
import type { AdapterValues } from "./values.ts";
import { doesNothing } from "./values.ts";

/** Width of the released Z-Image models' layers: `dim` of their config.json. */
const releasedDim = 3840;

/** What is likely wrong with a LoRA, each a sentence. */
export function findProblems(
  { info, metadata, modules }: LoraFile,
  values: ReadonlyMap<string, AdapterValues>,
  damaged: readonly InputError[],
): string[] {
  const problems: string[] = [];
  if (damaged.length > 0) problems.push(listed(damaged.map(({ message }) => message)));
  const idle = [...values].filter(([, own]) => doesNothing(own)).map(([name]) => name);
  if (idle.length === values.size && idle.length > 0) {
    problems.push("All values are zero: it was saved before its training began.");
  } else if (idle.length > 0) {
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
