import type { Edited, Hypothesis, Subject, Words } from "./hypothesis.ts";
import type { SampleItem, SampleSection } from "./job-config.ts";
import type { JobFolder } from "./job-folder.ts";

/** Seeds that people and programs take. */
const usualSeeds = [42, 0, 1, 123, 1234, 12345, 1337, 2024, 2025, 2026, 7, 2, 3, 4, 5, 6, 8, 9, 10];

export function* seeds(
  { config }: JobFolder,
  { set }: Subject,
  edited: Edited,
): Generator<Hypothesis> {
  const key = set === "sample" ? "sample" : "firstSample";
  const section = config[key] ?? config.sample;
  const change = (words: Words, edit: (before: SampleSection) => SampleSection) =>
    edited({ reach: "job", ...words }, (before) => ({
      ...before,
      [key]: edit(before[key] ?? before.sample),
    }));
  const walk = !section.walkSeed;
  yield change(
    {
      factor: "walk_seed",
      value: String(walk),
      sentence: walk
        ? "its seed was the job's plus its index: walk_seed was on"
        : "its seed was the job's: walk_seed was off",
    },
    (before) => ({ ...before, walkSeed: walk }),
  );
  const withoutOwn = (items: readonly SampleItem[]) =>
    items.map((item) => ({ ...item, seed: null }));
  if (section.items.some(({ seed }) => seed !== null)) {
    yield change(
      {
        factor: "seed_leak",
        value: "none",
        sentence: "no sample's own seed was used, its own or an earlier one's",
      },
      (before) => ({ ...before, items: withoutOwn(before.items) }),
    );
  }
  const base = typeof section.seed === "number" ? section.seed : 42;
  const tried = new Set([base - 1, base + 1, ...usualSeeds, base + 2, base - 2]);
  for (const seed of tried) {
    if (seed < 0 || seed === section.seed) continue;
    yield change(
      { factor: "seed", value: String(seed), sentence: `the job's seed was ${seed}` },
      (before) => ({ ...before, seed }),
    );
  }
}

/** Entries that change places with one stand near it; each is planned and drawn. */
const farthestOther = 25;

export function* otherSamples(
  { config }: JobFolder,
  { index, set }: Subject,
  edited: Edited,
): Generator<Hypothesis> {
  const key = set === "sample" ? "sample" : "firstSample";
  const section = config[key] ?? config.sample;
  const change = (
    words: Words,
    at: (items: readonly SampleItem[], own: SampleItem) => SampleItem,
  ) =>
    edited(words, (before) => {
      const items = (before[key] ?? before.sample).items;
      return {
        ...before,
        [key]: {
          ...(before[key] ?? before.sample),
          items: items.map((item, i) => (i === index ? at(items, item) : item)),
        },
      };
    });
  for (const [other, { prompt }] of section.items.entries()) {
    if (other === index || prompt === null || Math.abs(other - index) > farthestOther) continue;
    const named = `sample ${other}`;
    yield change(
      {
        factor: "prompt",
        value: named,
        sentence: `it shows the prompt of ${named}, not of ${index}`,
      },
      (_, own) => ({ ...own, prompt }),
    );
    yield change(
      { factor: "sample", value: named, sentence: `it was drawn by ${named} of the configuration` },
      (items) => items[other]!,
    );
  }
  const otherSection = set === "sample" ? config.firstSample : config.sample;
  if (otherSection !== null) {
    yield edited(
      {
        factor: "first_sample",
        value: set === "sample" ? "first_sample" : "sample",
        sentence: `it was drawn by the configuration's ${set === "sample" ? "first_sample" : "sample"}`,
      },
      (before) => ({ ...before, [key]: otherSection }),
    );
  }
}
