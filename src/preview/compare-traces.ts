import { InputError } from "../errors.ts";
import { openRegular, readExactly } from "../files/read.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import { readF32, readSafetensors } from "../weights/safetensors.ts";

/** A tensor that both traces may hold, and how far apart it is in them. */
interface StageDifference {
  /** Its name in a trace: `noise`, `latents.0`, … */
  readonly stage: string;
  /** `shape`: they can't be compared; `missing`: one trace has none. */
  readonly state: "equal" | "near" | "different" | "shape" | "missing";
  /** Largest difference of two values; null if it can't be told. */
  readonly maxDifference: number | null;
  /** Largest absolute value of the second. */
  readonly scale: number | null;
  readonly note: string | null;
}

export interface TraceComparison {
  /** In the order of the pipeline. */
  readonly stages: readonly StageDifference[];
  /** The first that differs by more than the order of sums explains; null: none does. */
  readonly first: string | null;
}

/** What comes before the steps, and after. */
const before = [
  "input_ids",
  "negative_input_ids",
  "prompt_embeds",
  "negative_prompt_embeds",
  "sigmas",
  "timesteps",
  "noise",
];
const step = /^(noise_pred|latents)\.(\d+)$/;

/**
 * Of a tensor's scale. f32 sums in another order stay 30 times below it through a whole picture
 * (test/golden/manifest.json); a bf16 runtime does not.
 */
const near = 1e-3;

/**
 * Compares two traces of `generate --trace`, or of the reference's trace.py, stage by stage.
 *
 * @throws InputError if a file can't be read, or holds no stage
 */
export async function compareTraces(first: string, second: string): Promise<TraceComparison> {
  const [a, b] = [await readSafetensors(first), await readSafetensors(second)];
  for (const [path, { tensors }] of [
    [first, a],
    [second, b],
  ] as const) {
    if (stagesOf([...tensors.keys()]).length === 0) {
      throw new InputError(
        `${path} is no trace: it holds none of ${before.join(", ")}. Write one with retake generate --trace FILE.`,
      );
    }
  }
  const stages: StageDifference[] = [];
  for (const stage of stagesOf([...new Set([...a.tensors.keys(), ...b.tensors.keys()])]))
    stages.push(await compareStage(stage, a.tensors.get(stage), b.tensors.get(stage)));
  const differs = stages.find(({ state }) => state !== "equal" && state !== "near");
  return { stages, first: differs?.stage ?? null };
}

/** In the order of the pipeline; a step's prediction before its latents. */
function stagesOf(names: readonly string[]): string[] {
  const place = (name: string): number => {
    const [, part, number] = step.exec(name) ?? [];
    if (number !== undefined)
      return before.length + 2 * Number(number) + (part === "latents" ? 1 : 0);
    if (name === "image") return Number.POSITIVE_INFINITY;
    return before.indexOf(name);
  };
  return names.filter((name) => place(name) >= 0).toSorted((x, y) => place(x) - place(y));
}

async function compareStage(
  stage: string,
  a: WeightSpan | undefined,
  b: WeightSpan | undefined,
): Promise<StageDifference> {
  const unknown = { stage, maxDifference: null, scale: null };
  if (a === undefined || b === undefined) {
    const which = a === undefined ? "first" : "second";
    return { ...unknown, state: "missing", note: `the ${which} trace has none` };
  }
  if (a.shape.join() !== b.shape.join()) {
    const note = `[${a.shape.join(", ")}] against [${b.shape.join(", ")}]`;
    return { ...unknown, state: "shape", note };
  }
  const [x, y] = [await valuesOf(a), await valuesOf(b)];
  let maxDifference = 0;
  let scale = 0;
  for (let i = 0; i < x.length; i++) {
    const difference = Math.abs(x[i]! - y[i]!);
    // Not Math.max: what is no number differs from everything.
    if (!(difference <= maxDifference)) maxDifference = difference;
    scale = Math.max(scale, Math.abs(y[i]!));
  }
  const exact = stage.endsWith("input_ids");
  const isNear = !exact && maxDifference <= near * scale;
  const state = maxDifference === 0 ? "equal" : isNear ? "near" : "different";
  return { stage, state, maxDifference, scale, note: null };
}

/** Token ids are int64, everything else is floating. */
async function valuesOf(span: WeightSpan): Promise<ArrayLike<number>> {
  if (span.dtype !== "I64") return (await readF32(span)).data;
  const { handle } = await openRegular(span.file, ".safetensors file");
  try {
    const bytes = new Uint8Array(span.byteLength);
    await readExactly(handle, bytes, span.offset, span.file);
    return Float64Array.from(new BigInt64Array(bytes.buffer), Number);
  } finally {
    await handle.close();
  }
}
