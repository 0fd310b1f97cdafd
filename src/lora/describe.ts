import { stat } from "node:fs/promises";
import { listed } from "../errors.ts";
import { hashFile } from "../files/hash.ts";
import { eraOfHeader } from "../models/eras.ts";
import { profileFacts } from "../models/profiles.ts";
import type { LoraFacts } from "../wire/lora-answers.ts";
import type { LoraFile } from "./file.ts";
import { readLora } from "./file.ts";
import { networkOf } from "./format.ts";
import type { LoraModule, StoredDelta } from "./module.ts";
import { isWhole } from "./module.ts";
import { openStrengthMeter } from "./strength.ts";
import { doesNothing, loadModules } from "./values.ts";

/** Width of the released Z-Image models' layers: `dim` of their config.json. */
const releasedDim = 3840;

/** What reading a module's values told. */
interface ModuleFacts {
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
function findFault(lora: LoraFile, facts: ReadonlyMap<string, ModuleFacts>): string | null {
  const damaged = [...facts.values()].flatMap(({ damage }) => damage ?? []);
  if (damaged.length > 0) return listed(damaged);
  const allIdle = lora.modules.size > 0 && [...facts.values()].every(({ isIdle }) => isIdle);
  return allIdle ? "All its values are zero: it was saved before its training began." : null;
}

/** What is likely wrong with a LoRA that can be used, each a sentence. */
function findProblems(
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
  const width = widthOf(modules);
  if (width !== undefined && width !== releasedDim) {
    problems.push(
      `It is for layers ${width} wide; the released Z-Image models have ${releasedDim}.`,
    );
  }
  if (isFp8Trained(metadata)) {
    problems.push(
      "It was trained on a base in fp8: with a bf16 base its pictures differ a little from its previews.",
    );
  }
  return problems;
}

/** `dim` of the model, from a module that tells it. */
function widthOf(modules: LoraFile["modules"]): number | undefined {
  for (const [name, { inDim, outDim }] of modules) {
    if (/\.(?:attention|ffn)_norm[12]$/.test(name)) return outDim;
    if (inDim !== null && /\.attention\.to_|\.feed_forward\.w[13]$/.test(name)) return inDim;
  }
  return undefined;
}

/** What kohya's and musubi's trainers note in the header. */
function isFp8Trained(metadata: Readonly<Record<string, string>>): boolean {
  return ["ss_fp8_base", "ss_fp8_base_unet", "ss_fp8_scaled"].some((key) =>
    /^true$/i.test(metadata[key] ?? ""),
  );
}

/** What a LoRA file is, and where it lies. Plain JSON, in the words of the API. */
export type LoraDescription = LoraFacts & { readonly file: string };

type ModuleGroup = LoraFacts["groups"][number];

/**
 * Says what a LoRA file is, from its header and its values. What is likely
 * wrong with it is listed, not thrown.
 *
 * @throws InputError if it can't be read as a LoRA at all
 */
export async function describeLora(path: string): Promise<LoraDescription> {
  const lora = await readLora(path);
  const facts = await measure(lora);
  const { info } = lora;
  const era = eraOfHeader(info);
  return {
    file: lora.file,
    bytes: (await stat(lora.file)).size,
    sha256: await hashFile(lora.file, "sha256"),
    format: lora.format,
    network: networkOf(lora.modules.values()),
    name: info.outputName,
    version: info.version,
    base_model: info.baseModel,
    trainer: info.trainer,
    trainer_version: info.trainerVersion,
    step: info.step,
    epoch: info.epoch,
    trigger_words: info.triggerWords,
    dataset_tags: info.datasetTags,
    modules: lora.modules.size,
    parameters: lora.parameters,
    rank: distinct(ranksOf([...lora.modules.values()])),
    groups: groupsOf(lora, facts),
    strength: Object.fromEntries([...facts].map(([name, { strength }]) => [name, strength])),
    preview_era:
      "none" in era
        ? null
        : {
            ...profileFacts(era.profile),
            candidates: era.candidates.map(({ name }) => name),
            doubt: era.doubt,
          },
    preview_era_unknown: "none" in era ? era.none : null,
    unusable: findFault(lora, facts),
    problems: findProblems(lora, facts),
    notes: lora.notes,
  };
}

/** Reads one module after the other: all values together may be more than memory holds. */
async function measure(lora: LoraFile): Promise<Map<string, ModuleFacts>> {
  const meter = await openStrengthMeter();
  try {
    const facts = new Map<string, ModuleFacts>();
    for (const [name, module] of lora.modules) {
      const { values, damaged } = await loadModules({
        ...lora,
        modules: new Map([[name, module]]),
      });
      const own = values.get(name);
      facts.set(name, {
        damage: damaged[0]?.message.replaceAll(lora.file, "the file") ?? null,
        isIdle: own !== undefined && doesNothing(own),
        alpha: own?.alpha ?? null,
        scale: own?.storedScale ?? null,
        strength: own === undefined ? null : Number((await meter.measure(own)).toPrecision(5)),
      });
    }
    return facts;
  } finally {
    await meter.release();
  }
}

function groupsOf(lora: LoraFile, facts: ReadonlyMap<string, ModuleFacts>): ModuleGroup[] {
  const groups = new Map<string, [string, LoraModule][]>();
  for (const [name, module] of lora.modules) {
    const group = name.replace(/\.\d+\./, ".*.");
    groups.set(group, [...(groups.get(group) ?? []), [name, module]]);
  }
  return [...groups].map(([group, members]) => {
    const own = members.flatMap(([name, { delta }]) =>
      isWhole(delta) ? [] : (facts.get(name) ?? []),
    );
    return {
      group,
      modules: members.length,
      rank: distinct(ranksOf(members.map(([, module]) => module))),
      alpha: distinct(own.flatMap(({ alpha }) => alpha ?? [])),
      scale: distinct(own.flatMap(({ scale }) => scale ?? [])),
      dtype: distinct(members.flatMap(([, module]) => dtypesOf(module))),
    };
  });
}

/** null: a LoKr's whole factors. A change that is stored whole has none, and no scale. */
function ranksOf(modules: readonly LoraModule[]): (number | null)[] {
  return modules.flatMap(({ delta }) => (isWhole(delta) ? [] : [delta.rank]));
}

function dtypesOf({ delta, biasDelta }: LoraModule): string[] {
  return [
    ...(delta === null ? [] : deltaDtypes(delta)),
    ...(biasDelta === null ? [] : [biasDelta.dtype]),
  ];
}

function deltaDtypes(delta: StoredDelta): string[] {
  if (delta.kind === "full") return [delta.whole.dtype];
  if (delta.kind === "lora") return [delta.loraA.dtype, delta.loraB.dtype];
  if (delta.kind === "lokr") return [...delta.w1, ...delta.w2].map(({ dtype }) => dtype);
  return [delta.w1a, delta.w1b, delta.w2a, delta.w2b].map(({ dtype }) => dtype);
}

function distinct<T extends string | number | null>(values: readonly T[]): T[] {
  return [...new Set(values)].sort((a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a) < String(b) ? -1 : 1,
  );
}
