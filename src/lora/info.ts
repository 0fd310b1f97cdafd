/** What a LoRA file says of itself. Every entry may be absent: trainers differ, and people edit files. */
export interface LoraInfo {
  readonly outputName: string | null;
  readonly baseModel: string | null;
  readonly trainer: string | null;
  readonly trainerVersion: string | null;
  readonly step: number | null;
  readonly epoch: number | null;
  readonly triggerWords: readonly string[];
}

/** Reads the header metadata that ai-toolkit writes (`info.py`, `toolkit/metadata.py`), and kohya's tags. */
export function readLoraInfo(metadata: Readonly<Record<string, string>>): LoraInfo {
  const software = jsonObject(metadata.software);
  const training = jsonObject(metadata.training_info);
  return {
    outputName: text(metadata.ss_output_name) ?? text(metadata.name),
    baseModel: text(metadata.ss_base_model_version),
    trainer: text(software.name),
    trainerVersion: text(software.version),
    step: count(training.step),
    epoch: count(training.epoch),
    triggerWords: triggerWords(metadata),
  };
}

/** `ss_tag_frequency` is {dataset: {tag: count}}; the tags that ai-toolkit puts there are trigger words. */
function triggerWords(metadata: Readonly<Record<string, string>>): string[] {
  const words = new Set<string>();
  for (const tags of Object.values(jsonObject(metadata.ss_tag_frequency))) {
    if (typeof tags === "object" && tags !== null)
      for (const tag of Object.keys(tags)) words.add(tag);
  }
  return [...words];
}

function jsonObject(value: string | undefined): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(value ?? "");
    return typeof parsed === "object" && parsed !== null
      ? Object.fromEntries(Object.entries(parsed))
      : {};
  } catch {
    // Metadata is a description, not an input: a garbled entry counts as absent.
    return {};
  }
}

function text(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

function count(value: unknown): number | null {
  return Number.isSafeInteger(value) ? Number(value) : null;
}
