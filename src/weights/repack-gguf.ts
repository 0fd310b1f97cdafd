import type { FileHandle } from "node:fs/promises";
import { open } from "node:fs/promises";
import { CanceledError, InputError } from "../errors.ts";
import { readExactly } from "../files/read.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import type { BlockFormat } from "./block-formats.ts";
import { dequantize, partsFor } from "./block-formats.ts";
import type { BlockLayout } from "./block-spans.ts";
import { blockSpan, blockTensors, packCodes } from "./block-spans.ts";
import type { Derivation, DeriveOptions, WriteInto } from "./derived-file.ts";
import { openDerived } from "./derived-file.ts";
import type { GgufTensor } from "./gguf.ts";
import type { TensorLayout } from "./write-safetensors.ts";
import { byteLengthOf } from "./write-safetensors.ts";

/** About how many bytes of a tensor are in memory at a time. */
const pieceBytes = 4 * 2 ** 20;

type BlockTensor = GgufTensor & { readonly storage: BlockFormat };

/**
 * The tensors of a GGUF file as a graph takes them. Plain ones are used where they lie. Codes
 * and scales of the others stand among each other in the file, where no operator reads them:
 * they are written apart, once, to the cache. What is no matrix is few and is widened to f32.
 *
 * @throws InputError if a block's scale is NaN or infinite, or the cache can't be written
 */
export async function openGgufTensors(
  tensors: ReadonlyMap<string, GgufTensor>,
  source: string,
  cacheFolder: string,
  options: DeriveOptions,
): Promise<Map<string, WeightSpan>> {
  const inBlocks = blockTensorsOf(tensors);
  if (inBlocks.length === 0) return spansOf(tensors, new Map());
  const { tensors: derived } = await openDerived(
    derivationOf(inBlocks, source, cacheFolder),
    options,
  );
  return spansOf(tensors, derived);
}

/** What `openGgufTensors` will give, as far as shapes and sizes go: nothing is written, and nothing can be read from it. */
export function outlineGgufTensors(
  tensors: ReadonlyMap<string, GgufTensor>,
  source: string,
): Map<string, WeightSpan> {
  const outlined = layoutsOf(blockTensorsOf(tensors)).map(
    ([name, layout]): [string, WeightSpan] => [
      name,
      { ...layout, file: source, offset: 0, byteLength: byteLengthOf(layout) },
    ],
  );
  return spansOf(tensors, new Map(outlined));
}

function blockTensorsOf(tensors: ReadonlyMap<string, GgufTensor>): [string, BlockTensor][] {
  return [...tensors].filter((entry): entry is [string, BlockTensor] => {
    return typeof entry[1].storage !== "string";
  });
}

function spansOf(
  tensors: ReadonlyMap<string, GgufTensor>,
  derived: ReadonlyMap<string, WeightSpan>,
): Map<string, WeightSpan> {
  const spans = new Map<string, WeightSpan>();
  for (const [name, { storage, ...place }] of tensors) {
    if (typeof storage === "string") spans.set(name, { dtype: storage, ...place });
    else if (isMatrix(place.shape)) {
      spans.set(name, blockSpan(derived, name, layoutOf(storage, place.shape)));
    } else spans.set(name, { ...derived.get(name)!, shape: place.shape });
  }
  return spans;
}

/** Pad tokens are stored as matrices of one row; nothing is multiplied by them. */
function isMatrix(shape: readonly number[]): boolean {
  return shape.length === 2 && shape[0] !== 1;
}

function layoutOf(format: BlockFormat, shape: readonly number[]): BlockLayout {
  const { bits, group, hasOffsets } = format;
  return { shape, bits, size: group, hasOffsets, parts: 1, turn: 1 };
}

function layoutsOf(tensors: readonly (readonly [string, BlockTensor])[]): [string, TensorLayout][] {
  return tensors.flatMap(([name, { storage, shape }]): [string, TensorLayout][] =>
    isMatrix(shape)
      ? blockTensors(name, layoutOf(storage, shape))
      : [[name, { dtype: "F32", shape }]],
  );
}

function derivationOf(
  tensors: readonly (readonly [string, BlockTensor])[],
  source: string,
  cacheFolder: string,
): Derivation {
  return {
    cacheFolder,
    kind: "gguf",
    sources: [source],
    tensors: new Map(layoutsOf(tensors)),
    async fill(write, signal) {
      const handle = await open(source, "r");
      try {
        for (const [name, tensor] of tensors) await repack(handle, name, tensor, write, signal);
      } finally {
        await handle.close();
      }
    },
  };
}

async function repack(
  handle: FileHandle,
  name: string,
  { storage, shape, offset, byteLength, file }: BlockTensor,
  write: WriteInto,
  signal: AbortSignal,
): Promise<void> {
  const piece = Math.floor(pieceBytes / storage.bytes) * storage.bytes;
  for (let at = 0; at < byteLength; at += piece) {
    if (signal.aborted) throw new CanceledError();
    const bytes = new Uint8Array(Math.min(piece, byteLength - at));
    await readExactly(handle, bytes, offset + at, file);
    const firstValue = (at / storage.bytes) * storage.values;
    if (isMatrix(shape)) {
      const { codes, scales, offsets } = split(storage, bytes);
      requireFinite([scales, offsets], name, file);
      await write(name, (firstValue * storage.bits) / 8, codes);
      const firstGroup = firstValue / storage.group;
      await write(`${name}.scales`, 4 * firstGroup, new Uint8Array(scales.buffer));
      if (storage.hasOffsets) {
        await write(`${name}.offsets`, 4 * firstGroup, new Uint8Array(offsets.buffer));
      }
    } else {
      const values = dequantize(storage, bytes);
      requireFinite([values], name, file);
      await write(name, 4 * firstValue, new Uint8Array(values.buffer));
    }
  }
}

/** Whole blocks taken apart: codes counted from the middle, as `BlockStorage` has them. */
function split(
  format: BlockFormat,
  bytes: Uint8Array<ArrayBuffer>,
): { codes: Uint8Array; scales: Float32Array<ArrayBuffer>; offsets: Float32Array<ArrayBuffer> } {
  const { values, group, bits, centre, middle } = format;
  const blocks = bytes.length / format.bytes;
  const groups = values / group;
  const codes = new Uint8Array(blocks * values);
  const scales = new Float32Array(blocks * groups);
  const offsets = new Float32Array(blocks * groups);
  const parts = partsFor(format);
  const shift = 2 ** (bits - 1) - middle;
  for (let block = 0; block < blocks; block++) {
    format.unpack(new DataView(bytes.buffer, block * format.bytes, format.bytes), parts);
    for (let i = 0; i < values; i++) codes[block * values + i] = parts.codes[i]! + shift;
    for (let i = 0; i < groups; i++) {
      const scale = parts.scales[i]!;
      scales[block * groups + i] = scale;
      offsets[block * groups + i] = parts.offsets[i]! - (middle - centre) * scale;
    }
  }
  return { codes: packCodes(codes, bits), scales, offsets };
}

function requireFinite(lists: readonly Float32Array[], name: string, file: string): void {
  if (lists.every((list) => list.every(Number.isFinite))) return;
  throw new InputError(
    `${file} is damaged: tensor ${name} has a scale that is NaN or infinite. Download the file again.`,
  );
}
