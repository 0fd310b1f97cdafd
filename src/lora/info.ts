/** What a LoRA file says of itself. Every entry may be absent: trainers differ, and people edit files. */
export interface LoraInfo {
  readonly outputName: string | null;
  readonly baseModel: string | null;
  readonly trainer: string | null;
  readonly trainerVersion: string | null;
  readonly step: number | null;
  readonly epoch: number | null;
  readonly triggerWords: readonly string[];
  /** The LoRA's own version, as its maker counts. */
  readonly version: string | null;
  /** How often each tag stood in the dataset's captions, the most frequent first. */
  readonly datasetTags: Readonly<Record<string, number>>;
}

/** Reads the header metadata that ai-toolkit writes (`info.py`, `toolkit/metadata.py`), and kohya's tags. */
export function readLoraInfo(metadata: Readonly<Record<string, string>>): LoraInfo {
  const software = jsonObject(metadata.software);
  const training = jsonObject(metadata.training_info);
  const tags = tagCounts(metadata);
  return {
    outputName: text(metadata.ss_output_name) ?? text(metadata.name),
    baseModel: text(metadata.ss_base_model_version) ?? text(metadata["modelspec.architecture"]),
    trainer: text(software.name) ?? kohyaTrainer(metadata),
    trainerVersion: text(software.version),
    step: count(training.step) ?? count(metadata.ss_steps),
    epoch: count(training.epoch) ?? count(metadata.ss_epoch),
    triggerWords: triggerWords(metadata, tags),
    version: text(metadata.version),
    datasetTags: Object.fromEntries(tags.slice(0, mostTags)),
  };
}

/** ai-toolkit writes its trigger word alone; kohya every tag of every caption, the trigger most often. */
const mostTriggerWords = 8;
const mostTags = 100;

/** `modelspec.trigger_phrase`, then the most frequent tags. */
function triggerWords(
  metadata: Readonly<Record<string, string>>,
  tags: readonly (readonly [string, number])[],
): string[] {
  const words = tags.map(([tag]) => tag);
  const phrase = text(metadata["modelspec.trigger_phrase"]);
  return [...new Set(phrase === null ? words : [phrase, ...words])].slice(0, mostTriggerWords);
}

/** `ss_tag_frequency`, {dataset: {tag: count}}, over all datasets, the most frequent first. */
function tagCounts(metadata: Readonly<Record<string, string>>): [string, number][] {
  const counts = new Map<string, number>();
  for (const tags of Object.values(jsonObject(metadata.ss_tag_frequency))) {
    if (typeof tags !== "object" || tags === null || Array.isArray(tags)) continue;
    for (const [whole, times] of Object.entries(tags)) {
      const tag = cut(whole);
      counts.set(tag, (counts.get(tag) ?? 0) + (count(times) ?? 0));
    }
  }
  return [...counts].toSorted(([, a], [, b]) => b - a);
}

/** kohya's scripts and musubi-tuner name neither themselves nor a version, but the network's module. */
function kohyaTrainer(metadata: Readonly<Record<string, string>>): string | null {
  const module = text(metadata.ss_network_module);
  if (module === null) return null;
  return /lycoris/i.test(module)
    ? "LyCORIS"
    : /zimage|z_image/i.test(module)
      ? "musubi-tuner"
      : "kohya";
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

/** Who shows a description need not show megabytes. */
const longestText = 1000;

function text(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? cut(value) : null;
}

function cut(value: string): string {
  return value.length > longestText ? `${value.slice(0, longestText).toWellFormed()}…` : value;
}

/** A count, as a number or, in kohya's headers, as its digits. */
function count(value: unknown): number | null {
  const number = typeof value === "string" && /^\d{1,15}$/.test(value) ? Number(value) : value;
  return Number.isSafeInteger(number) ? Number(number) : null;
}
