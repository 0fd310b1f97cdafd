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

/** ai-toolkit writes its trigger word alone; kohya every tag of every caption, the trigger most often. */
const mostTriggerWords = 8;

/** `modelspec.trigger_phrase`, then `ss_tag_frequency`, {dataset: {tag: count}}, the most frequent first. */
function triggerWords(metadata: Readonly<Record<string, string>>): string[] {
  const counts = new Map<string, number>();
  for (const tags of Object.values(jsonObject(metadata.ss_tag_frequency))) {
    if (typeof tags !== "object" || tags === null || Array.isArray(tags)) continue;
    for (const [tag, times] of Object.entries(tags)) {
      counts.set(tag, (counts.get(tag) ?? 0) + (count(times) ?? 0));
    }
  }
  const tags = [...counts].toSorted(([, a], [, b]) => b - a).map(([tag]) => tag);
  const phrase = text(metadata["modelspec.trigger_phrase"]);
  return [...new Set(phrase === null ? tags : [phrase, ...tags])].slice(0, mostTriggerWords);
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
