import type { PictureComparison } from "../preview/compare-pictures.ts";
import type { TraceComparison } from "../preview/compare-traces.ts";
import type { ComparedPicture } from "../preview/compared-picture.ts";

/** What `compare --json` prints for two pictures. */
export function pictureJson(compared: PictureComparison): object {
  const { pixels, explanation, differences, unsaid, notes } = compared;
  return {
    first: sideJson(compared.first),
    second: sideJson(compared.second),
    pixels:
      pixels === null
        ? null
        : { psnr: pixels.psnr, ssim: pixels.ssim, max_difference: pixels.maxDifference },
    differences,
    unsaid,
    drawn: explanation?.drawn ?? null,
    psnr_before: explanation?.before.psnr ?? null,
    psnr_after: explanation?.after.psnr ?? null,
    causes:
      explanation?.steps.map(({ setting, value, psnr, gain, sentence, written }) => ({
        factor: setting,
        value,
        psnr,
        gain,
        sentence,
        written,
      })) ?? [],
    explained: explanation?.explained ?? null,
    not_drawn: explanation?.unfit ?? [],
    tried: explanation?.tried ?? 0,
    complete: explanation?.complete ?? true,
    notes,
  };
}

function sideJson({ path, made, image }: ComparedPicture): object {
  return { file: path, made, width: image.width, height: image.height };
}

/** Files say what they like: nothing of it moves the cursor or fills the screen. */
function plain(text: string): string {
  const line = text.replaceAll(/[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]+/gu, " ");
  return line.length > longestShown ? `${line.slice(0, longestShown)}…` : line;
}
const longestShown = 300;

export function pictureText(compared: PictureComparison): string {
  const { first, second, pixels, differences, unsaid, notes } = compared;
  const side = (name: string, { path, made, image }: ComparedPicture) =>
    `${name.padEnd(8)} ${path}: ${madeBy(made)}, ${image.width} x ${image.height}\n`;
  const far =
    pixels === null
      ? "The pictures have different sizes.\n"
      : `PSNR ${pixels.psnr.toFixed(1)} dB, SSIM ${pixels.ssim?.toFixed(4) ?? "-"}, at most ${pixels.maxDifference} of 255 apart\n`;
  const settings = differences.map(
    (one) =>
      `  ${one.setting.padEnd(10)} first:  ${plain(one.first)}\n${" ".repeat(13)}second: ${plain(one.second)}\n`,
  );
  return [
    side("first", first),
    side("second", second),
    far,
    ...(settings.length === 0 ? [] : ["Settings that differ:\n", ...settings]),
    ...(unsaid.length === 0 ? [] : [`Not written, or not understood: ${unsaid.join(", ")}\n`]),
    explanationText(compared),
    ...notes.map((note) => `note: ${plain(note)}\n`),
  ].join("");
}

const madeWords: Partial<Record<ComparedPicture["made"], string>> = {
  preview: "a preview of a training",
  unknown: "says nothing of how it was made",
  retake: "made by Retake",
};

function madeBy(made: ComparedPicture["made"]): string {
  return madeWords[made] ?? `made by ${made}`;
}

function explanationText({ explanation }: PictureComparison): string {
  if (explanation === null) return "Nothing was drawn: neither picture can be drawn again here.\n";
  const { drawn, steps, explained, before, after, tried, complete, unfit } = explanation;
  const other = drawn === "first" ? "second" : "first";
  const dB = (psnr: number | null) => (psnr === null ? "another size" : `${psnr.toFixed(1)} dB`);
  const start = `The ${drawn} one, drawn again, against the ${other}: ${dB(before.psnr)}.\n`;
  const found = steps.map(
    ({ setting, sentence, psnr, gain }, i) =>
      `  ${i + 1}. ${setting}: ${plain(sentence)} (+${gain.toFixed(1)} dB, now ${dB(psnr)})\n`,
  );
  const end = explained
    ? steps.length === 0
      ? `They are the same picture${before.verdict === "close" ? ", but for what bf16 explains" : ""}.\n`
      : "That explains it.\n"
    : steps.length === 0
      ? `None of these: of ${tried - 1} changes that were tried none brings it nearer.\n`
      : `That does not explain all of it: ${dB(after.psnr)} are left.\n`;
  return [
    start,
    ...(found.length === 0 ? [] : ["What brings it nearer, the greatest first:\n", ...found]),
    end,
    ...(complete ? [] : ["Time ran out before everything was tried.\n"]),
    ...unfit.map(({ setting, reason }) => `  ${setting} could not be tried: ${plain(reason)}\n`),
  ].join("");
}

export function traceText({ stages, first }: TraceComparison): string {
  const lines = stages.map(({ stage, state, maxDifference, scale, note }) => {
    const far =
      maxDifference === null || scale === null
        ? (note ?? "")
        : `at most ${maxDifference.toPrecision(3)} apart, of ${scale.toPrecision(3)}`;
    return `${stage === first ? ">" : " "} ${stage.padEnd(24)} ${state.padEnd(10)} ${far}\n`;
  });
  const end =
    first === null ? "No stage differs.\n" : `The first stage that differs is ${first}.\n`;
  return [...lines, end].join("");
}
