import type { FileHandle } from "node:fs/promises";
import { open } from "node:fs/promises";
import { InputError, messageOf } from "../errors.ts";
import { openRegular, readExactly } from "../files/read.ts";
import type { WeightSpan } from "../onnx/graph.ts";
import type { Dtype } from "../tensor/dtype.ts";
import { bf16ToF32, dtypeBytes, f16ToF32 } from "../tensor/dtype.ts";
import { sizeOf, type Tensor } from "../tensor/tensor.ts";
import { findDuplicateKey } from "./duplicate-keys.ts";
import type { HeaderLimits } from "./header-limits.ts";
import { beyondLimits } from "./header-limits.ts";

/** A header larger than this is refused; the format's own library has the same limit. */
export const largestHeader = 100_000_000;

export interface SafetensorsFile {
  /** Real, absolute path. */
  readonly file: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, WeightSpan>;
}

/**
 * Reads the header of a safetensors file and checks all that it says against
 * the file: the runtime maps byte ranges without a check of its own.
 * Format: https://github.com/huggingface/safetensors#format
 *
 * @param limits of a header that a stranger may have written; without them only its length has one
 * @throws InputError naming the file, what is wrong and what to do
 */
export async function readSafetensors(
  path: string,
  limits?: HeaderLimits,
): Promise<SafetensorsFile> {
  const { handle, file, size } = await openRegular(path, ".safetensors file");
  try {
    const header = await readHeader(handle, size, path);
    const excess = limits === undefined ? undefined : beyondLimits(header, limits);
    if (excess !== undefined) {
      throw new InputError(
        `${path} can't be used as a LoRA: its header has ${excess}. Name a LoRA's own file.`,
      );
    }
    return { file, ...parseHeader(header, size, file, path) };
  } finally {
    await handle.close();
  }
}

/** One tensor's values, widened to f32. */
export async function readF32(span: WeightSpan): Promise<Tensor> {
  const handle = await open(span.file, "r");
  try {
    const bytes = new Uint8Array(span.byteLength);
    await readExactly(handle, bytes, span.offset, span.file);
    return { data: widen(bytes, span), shape: span.shape };
  } finally {
    await handle.close();
  }
}

/** The same out of a file's bytes that are in memory. */
export function cutF32(file: Uint8Array<ArrayBuffer>, span: WeightSpan): Tensor {
  const end = span.offset + span.byteLength;
  if (end > file.length) {
    throw new InputError(`${span.file} became shorter while it was read. Download it again.`);
  }
  // A copy: where a tensor lies, it need not be aligned for its elements.
  return { data: widen(file.slice(span.offset, end), span), shape: span.shape };
}

/** Stored values as f32. @throws InputError for what isn't F32, F16 or BF16 */
export function widen(
  bytes: Uint8Array<ArrayBuffer>,
  { dtype, file }: WeightSpan,
): Float32Array<ArrayBuffer> {
  if (dtype === "F32") return new Float32Array(bytes.buffer);
  if (dtype === "BF16") return bf16ToF32(new Uint16Array(bytes.buffer));
  if (dtype === "F16") return f16ToF32(new Uint16Array(bytes.buffer));
  throw new InputError(`${file} holds ${dtype} tensors where F32, F16 or BF16 is needed.`);
}

async function readHeader(handle: FileHandle, size: number, path: string): Promise<Uint8Array> {
  const start = new Uint8Array(8);
  if (size < 8) throw damaged(path, `it has only ${size} bytes`);
  await readExactly(handle, start, 0, path);
  const length = new DataView(start.buffer).getBigUint64(0, true);
  // Only then look for another format: a valid length may begin with another's first bytes.
  const other = Number(length) + 8 > size ? otherFormat(start) : undefined;
  if (other !== undefined) {
    throw new InputError(
      `${path} is ${other}, not a safetensors file. Get the .safetensors version.`,
    );
  }
  if (length > BigInt(largestHeader)) {
    throw damaged(path, `its header claims ${length} bytes, and ${largestHeader} is the limit`);
  }
  if (Number(length) + 8 > size) {
    throw damaged(path, `its header claims ${length} bytes in a file of ${size}`);
  }
  const header = new Uint8Array(Number(length));
  await readExactly(handle, header, 8, path);
  return header;
}

function parseHeader(
  header: Uint8Array,
  size: number,
  file: string,
  path: string,
): Pick<SafetensorsFile, "metadata" | "tensors"> {
  let text: string;
  let json: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(header);
    json = JSON.parse(text);
  } catch (error) {
    throw damaged(path, `its header is not JSON (${messageOf(error)})`);
  }
  if (!isObject(json) || header[0] !== 0x7b) {
    throw damaged(path, "its header is not a JSON object from its first byte on");
  }
  const duplicate = findDuplicateKey(text);
  if (duplicate !== undefined) throw damaged(path, `its header names "${duplicate}" twice`);

  const dataStart = 8 + header.length;
  const tensors = new Map<string, WeightSpan>();
  let metadata: Record<string, string> = {};
  for (const [name, entry] of Object.entries(json)) {
    if (name === "__metadata__") metadata = parseMetadata(entry, path);
    else tensors.set(name, parseEntry(name, entry, dataStart, file, path));
  }
  checkSpans(tensors, dataStart, size, path);
  return { metadata, tensors };
}

function parseMetadata(entry: unknown, path: string): Record<string, string> {
  const metadata: Record<string, string> = {};
  if (!isObject(entry)) throw damaged(path, "its __metadata__ is not an object");
  for (const [key, value] of Object.entries(entry)) {
    if (typeof value !== "string") throw damaged(path, `its metadata "${key}" is not a string`);
    Object.defineProperty(metadata, key, { value, enumerable: true });
  }
  return metadata;
}

function parseEntry(
  name: string,
  entry: unknown,
  dataStart: number,
  file: string,
  path: string,
): WeightSpan {
  if (!isObject(entry)) throw damaged(path, `tensor ${name} is not described by an object`);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (!isDtype(dtype)) {
    throw damaged(path, `tensor ${name} has the unknown dtype ${JSON.stringify(dtype)}`);
  }
  if (!isCounts(shape)) {
    throw damaged(path, `tensor ${name} has the impossible shape ${JSON.stringify(shape)}`);
  }
  if (!isCounts(offsets) || offsets.length !== 2) {
    throw damaged(path, `tensor ${name} has no valid data_offsets`);
  }
  const [begin, end] = offsets as [number, number];
  const byteLength = sizeOf(shape) * dtypeBytes[dtype];
  if (!Number.isSafeInteger(byteLength) || end - begin !== byteLength) {
    throw damaged(
      path,
      `tensor ${name}, ${dtype} [${shape}], needs ${byteLength} bytes and claims ${begin} to ${end}`,
    );
  }
  return { dtype, shape, file, offset: dataStart + begin, byteLength };
}

/** Spans must fill the data part from its start to its end, without gap or overlap, as the format demands. */
function checkSpans(
  tensors: ReadonlyMap<string, WeightSpan>,
  dataStart: number,
  size: number,
  path: string,
): void {
  let end = dataStart;
  const inOrder = [...tensors].sort(
    ([, a], [, b]) => a.offset - b.offset || a.byteLength - b.byteLength,
  );
  for (const [name, span] of inOrder) {
    if (span.offset < end) throw damaged(path, `tensor ${name} overlaps the one before it`);
    if (span.offset > end) throw damaged(path, `there is a gap before tensor ${name}`);
    end = span.offset + span.byteLength;
  }
  if (end > size) {
    throw damaged(path, `it is cut off: it has ${size} bytes, and its header describes ${end}`);
  }
  if (end < size) throw damaged(path, `${size - end} bytes follow its last tensor`);
}

function damaged(path: string, what: string): InputError {
  return new InputError(`${path} is not a whole safetensors file: ${what}. Download it again.`);
}

/** What people rename to .safetensors, by its first bytes. */
export function otherFormat(start: Uint8Array): string | undefined {
  const text = new TextDecoder("latin1").decode(start);
  if (text.startsWith("PK\x03\x04")) return "a zip archive (a PyTorch .pt or .ckpt file)";
  if (start[0] === 0x80) return "a Python pickle";
  if (start[0] === 0x1f && start[1] === 0x8b) return "gzip-compressed data";
  if (text.startsWith("GGUF")) return "a GGUF file";
  if (/^\s*<(!|h|\?)/i.test(text)) return "a web page: the download needs a login or another link";
  if (text.startsWith("version ")) return "a Git LFS pointer: fetch the file itself (git lfs pull)";
  if (text.startsWith("{")) return "a JSON text";
  return undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isDtype(value: unknown): value is Dtype {
  return typeof value === "string" && Object.hasOwn(dtypeBytes, value);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}
