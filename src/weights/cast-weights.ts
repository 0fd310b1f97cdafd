import type { FileHandle } from "node:fs/promises";
import { open } from "node:fs/promises";
import { CanceledError, InputError } from "../errors.ts";
import { readExactly } from "../files/read.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import { dtypeBytes } from "../tensor/dtype.ts";
import { converter, type HeldDtype, largestF16 } from "./convert.ts";
import type { Derivation, DeriveOptions, WriteInto } from "./derived-file.ts";
import { openDerived } from "./derived-file.ts";
import type { TensorLayout } from "./write-safetensors.ts";

/** A weight, and what it becomes. */
export interface Cast {
  readonly span: WeightSpan;
  readonly to: HeldDtype;
}

const pieceBytes = 8 * 2 ** 20;
/** An int64 beside the weights: how many values were rounded. No weight has this name. */
const countName = "retake.rounded";

/**
 * Weights in f16 or f32, written once to the cache. A scale stays beside its weight.
 *
 * @param casts by name; none of them in blocks
 * @returns those that were asked for, and how many values f16 rounded
 * @throws InputError if a weight is NaN, infinite or beyond f16, or the cache can't be written
 */
export async function castWeights(
  casts: ReadonlyMap<string, Cast>,
  cacheFolder: string,
  options: DeriveOptions,
): Promise<{ readonly weights: Map<string, WeightSpan>; readonly rounded: number }> {
  if (casts.size === 0) return { weights: new Map(), rounded: 0 };
  const layouts = [...casts].map(([name, { span, to }]): [string, TensorLayout] => [
    name,
    { dtype: to, shape: span.shape },
  ]);
  // The widest first, so that each is aligned for its elements.
  layouts.sort(([, a], [, b]) => dtypeBytes[b.dtype] - dtypeBytes[a.dtype]);
  const derivation: Derivation = {
    cacheFolder,
    kind: "cast",
    detail: JSON.stringify(layouts),
    sources: filesOf([...casts.values()].map(({ span }) => span)),
    tensors: new Map([[countName, { dtype: "I64", shape: [1] }], ...layouts]),
    async fill(write: WriteInto, signal: AbortSignal) {
      let rounded = 0;
      for (const [name, cast] of casts) {
        const handle = await open(cast.span.file, "r");
        try {
          rounded += await castTensor(handle, name, cast, write, signal);
        } finally {
          await handle.close();
        }
      }
      await write(countName, 0, new Uint8Array(BigInt64Array.of(BigInt(rounded)).buffer));
    },
  };
  const { tensors } = await openDerived(derivation, options);
  const weights = new Map(
    [...casts].map(([name, { span }]) => {
      const { scale } = span;
      return [name, { ...tensors.get(name)!, ...(scale === undefined ? {} : { scale }) }] as const;
    }),
  );
  return { weights, rounded: await readCount(tensors.get(countName)!) };
}

/** The files that weights lie in, each once. */
export function filesOf(spans: readonly WeightSpan[]): string[] {
  return [...new Set(spans.map(({ file }) => file))].toSorted();
}

async function castTensor(
  handle: FileHandle,
  name: string,
  { span, to }: Cast,
  write: WriteInto,
  signal: AbortSignal,
): Promise<number> {
  const convert = converter(span.dtype, to);
  const [from, into] = [dtypeBytes[span.dtype], dtypeBytes[to]];
  let rounded = 0;
  for (let at = 0; at < span.byteLength; at += pieceBytes) {
    if (signal.aborted) throw new CanceledError();
    const bytes = new Uint8Array(Math.min(pieceBytes, span.byteLength - at));
    await readExactly(handle, bytes, span.offset + at, span.file);
    const converted = convert(bytes);
    if (converted.fault !== null) throw faulty(name, span, converted.fault);
    rounded += converted.rounded;
    await write(name, (at / from) * into, converted.bytes);
  }
  return rounded;
}

function faulty(name: string, { file }: WeightSpan, value: number): InputError {
  return new InputError(
    Number.isFinite(value)
      ? `${file} can't be held in f16: tensor ${name} holds ${value}, and f16 ends at ${largestF16}. ` +
          "Ask for --storage f32 or int8 (RETAKE_STORAGE)."
      : `${file} is damaged: tensor ${name} holds NaN or infinity. Download the file again.`,
  );
}

async function readCount({ file, offset, byteLength }: WeightSpan): Promise<number> {
  const bytes = new Uint8Array(byteLength);
  const handle = await open(file, "r");
  try {
    await readExactly(handle, bytes, offset, file);
  } finally {
    await handle.close();
  }
  return Number(new BigInt64Array(bytes.buffer)[0]!);
}
