import type { LoraFacts } from "../wire/lora-answers.ts";

// What a training preview meant, by the version of ai-toolkit that drew it. Read from the
// trainer's history: 4e62c38d, 859635e9, ef57c107, 6233efe1, 3e6bd874.

type PreviewEra = Omit<NonNullable<LoraFacts["preview_era"]>, "doubt">;

const previewEras: readonly PreviewEra[] = [
  { from: "0.7.6", to: "0.7.24", guidance: "g", guidance_above: 1, updates: "N - 1", divisor: 32 },
  { from: "0.7.25", to: "0.9.13", guidance: "g", guidance_above: 0, updates: "N - 1", divisor: 32 },
  {
    from: "0.9.14",
    to: "0.10.20",
    guidance: "g",
    guidance_above: 0,
    updates: "N - 1",
    divisor: 16,
  },
  {
    from: "0.10.21",
    to: "0.10.24",
    guidance: "max(0, g - 1)",
    guidance_above: 0,
    updates: "N - 1",
    divisor: 16,
  },
  {
    from: "0.10.25",
    to: null,
    guidance: "max(0, g - 1)",
    guidance_above: 0,
    updates: "N",
    divisor: 16,
  },
];

/** Versions in whose course a preview's meaning changed, and what is uncertain for them. */
const uncertain: Readonly<Record<string, string>> = {
  "0.9.14": "sizes were floored to 32 before this version's last days",
  "0.10.24": "N steps make N updates if diffusers was newer than the one it asked for",
};

/**
 * The era of a LoRA by the version of ai-toolkit in its header.
 *
 * @returns why there is none, where there is none
 */
export function eraOfVersion(
  version: string,
): { readonly era: PreviewEra; readonly doubt: string | null } | { readonly none: string } {
  const numbers = /^v?(\d+)\.(\d+)\.(\d+)/.exec(version)?.slice(1).map(Number);
  if (numbers === undefined) return { none: `"${version}" is not a version of ai-toolkit` };
  const era = previewEras.findLast(
    ({ from }) => compare(numbers, from.split(".").map(Number)) >= 0,
  );
  if (era === undefined)
    return { none: `ai-toolkit ${version} is older than its Z-Image training` };
  return { era, doubt: uncertain[numbers.join(".")] ?? null };
}

/** A version orders by its numbers, not as text. */
function compare(a: readonly number[], b: readonly number[]): number {
  const different = a.findIndex((number, i) => number !== b[i]);
  return different === -1 ? 0 : a[different]! - b[different]!;
}
