import type { Comparison } from "../image/compare.ts";
import { comparePixels } from "../image/compare.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Difference } from "../tools/differences.ts";
import { differencesOf, fileName, unsaidIn } from "../tools/differences.ts";
import type { SettingName, ToolSettings } from "../tools/settings.ts";
import type { ComparedPicture, LoraFile } from "./compared-picture.ts";
import type { Explanation } from "./explain-picture.ts";
import { explainPicture } from "./explain-picture.ts";
import { judge } from "./judge.ts";
import { settingsOfShot } from "./settings-of-shot.ts";
import type { Shot } from "./shot.ts";

export interface PictureComparison {
  readonly first: ComparedPicture;
  readonly second: ComparedPicture;
  /** null: the sizes differ. */
  readonly pixels: Comparison | null;
  /** What both say, and differently; `first` and `second` as the pictures were named. */
  readonly differences: readonly Difference[];
  /** What the second does not say, or the first. */
  readonly unsaid: readonly SettingName[];
  /** Which of the two was drawn again, and what explains the other; null: none could be drawn. */
  readonly explanation: (Explanation & { readonly drawn: "first" | "second" }) | null;
  readonly notes: readonly string[];
}

/**
 * Compares two pictures, the settings that they were made with, and, where one of them can be drawn
 * again, draws it with the other's settings until that one is explained.
 *
 * @param draw null: no weights are at hand
 */
export async function comparePictures(
  first: ComparedPicture,
  second: ComparedPicture,
  options: { readonly draw: ((shot: Shot) => Promise<Tensor>) | null; readonly deadline: number },
): Promise<PictureComparison> {
  const { draw, deadline } = options;
  const [a, b] = [first.image, second.image];
  const pixels = a.width === b.width && a.height === b.height ? comparePixels(a, b) : null;
  const ours = first.shots.length > 0 ? first : second;
  const theirs = ours === first ? second : first;
  const shot = draw === null ? ours.shots[0] : await likeliest(ours, draw);
  const own = shot === undefined ? ours.settings : settingsOfShot(shot);
  const { settings, notes } = withKnownLoras(theirs.settings, own, ours.loras);
  const differences = own === null || settings === null ? [] : differencesOf(own, settings);
  const comparison = {
    first,
    second,
    pixels,
    differences: ours === first ? differences : differences.map(turned),
    unsaid: settings === null ? [] : unsaidIn(settings),
    notes: [
      ...first.notes,
      ...second.notes,
      ...notes,
      ...(settings?.notes ?? []),
      ...(settings?.unread ?? []),
    ],
  };
  if (draw === null || shot === undefined) return { ...comparison, explanation: null };
  // The file's own size, whatever is written: a picture that was enlarged can't be drawn so.
  const { width, height } = theirs.image;
  const explanation = await explainPicture(
    shot,
    { settings, differences, loras: ours.loras, width, height },
    {
      deadline,
      // Other tools compute in bf16 as a rule.
      draw: async (one) =>
        judge({ file: theirs.path, bytes: theirs.bytes }, await draw(one), "bf16"),
    },
  );
  const drawn = ours === first ? ("first" as const) : ("second" as const);
  return { ...comparison, explanation: { ...explanation, drawn } };
}

function turned({ setting, first, second }: Difference): Difference {
  return { setting, first: second, second: first };
}

/** A version may have drawn its previews in several ways: the file shows in which. */
async function likeliest(
  { shots, path, bytes }: ComparedPicture,
  draw: (shot: Shot) => Promise<Tensor>,
): Promise<Shot | undefined> {
  if (shots.length < 2) return shots[0];
  const judged = [];
  for (const shot of shots) {
    const { psnr } = await judge({ file: path, bytes }, await draw(shot), "bf16");
    judged.push({ shot, psnr: psnr ?? 0 });
  }
  return judged.toSorted((x, y) => y.psnr - x.psnr)[0]!.shot;
}

/** People rename a LoRA's file: one that is not known stands for the only one there is. */
function withKnownLoras(
  settings: ToolSettings | null,
  own: ToolSettings | null,
  loras: readonly LoraFile[],
): { settings: ToolSettings | null; notes: string[] } {
  const [only, ...more] = settings?.loras ?? [];
  const [mine, ...others] = own?.loras ?? [];
  if (settings === null || only === undefined || mine === undefined) return { settings, notes: [] };
  const isKnown = loras.some(({ file }) => fileName(file) === fileName(only.name));
  if (more.length > 0 || others.length > 0 || isKnown) return { settings, notes: [] };
  return {
    settings: { ...settings, loras: [{ name: mine.name, strength: only.strength }] },
    notes: [`the LoRA ${only.name} is taken for ${mine.name}`],
  };
}
