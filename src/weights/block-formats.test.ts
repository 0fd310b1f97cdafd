import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { goldenFolder } from "../../test/golden.ts";
import { blockFormats, dequantize } from "./block-formats.ts";
import { readF32, readSafetensors } from "./safetensors.ts";

const golden = await readSafetensors(join(goldenFolder, "quantised/blocks.safetensors"));

test.each([...blockFormats.values()])(
  "$name holds what gguf's dequantize reads from it",
  async (format) => {
    const span = golden.tensors.get(`${format.name}.bytes`)!;
    expect(span.shape[1]).toBe(format.bytes);
    const bytes = readFileSync(span.file).subarray(span.offset, span.offset + span.byteLength);
    const reference = await readF32(golden.tensors.get(`${format.name}.values`)!);
    expect(dequantize(format, bytes)).toEqual(reference.data);
  },
);
