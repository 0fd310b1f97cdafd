import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, beforeEach, expect, test } from "vitest";
import { InputError } from "../errors.ts";
import { readF32, readSafetensors } from "./safetensors.ts";
import { writeSafetensors } from "./write-safetensors.ts";

const folder = mkdtempSync(join(tmpdir(), "retake-write-"));
const path = join(folder, "written.safetensors");
beforeEach(() => {
  rmSync(folder, { recursive: true });
  mkdirSync(folder);
});
afterAll(() => rmSync(folder, { recursive: true }));

test("the bytes are those that the format's description gives", async () => {
  const tensors = new Map([
    ["ids", { data: BigInt64Array.of(-2n), shape: [1] }],
    ["x", { data: Float32Array.of(1.5, -2), shape: [2, 1] }],
  ]);
  await writeSafetensors(path, tensors, { format: "pt" });
  const json =
    '{"__metadata__":{"format":"pt"},"ids":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},' +
    '"x":{"dtype":"F32","shape":[2,1],"data_offsets":[8,16]}}';
  expect(readFileSync(path).toString("hex")).toBe(
    // 144 = 0x90: the JSON's 143 bytes and a space.
    `9000000000000000${Buffer.from(`${json} `).toString("hex")}` +
      "feffffffffffffff" +
      "0000c03f000000c0",
  );
});

test("what is written is read back", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.dictionary(fc.string(), fc.float32Array({ noNaN: true }), { maxKeys: 4 }),
      async (values) => {
        const names = Object.keys(values).filter((name) => name !== "__metadata__");
        const tensors = new Map(
          names.map((name) => {
            const data = Float32Array.from(values[name] ?? []);
            return [name, { data, shape: [data.length] }];
          }),
        );
        await writeSafetensors(path, tensors, { a: "b" });
        const file = await readSafetensors(path);
        expect(file.metadata).toEqual({ a: "b" });
        expect(new Set(file.tensors.keys())).toEqual(new Set(names));
        for (const [name, span] of file.tensors) {
          expect(await readF32(span)).toEqual(tensors.get(name));
        }
      },
    ),
    { numRuns: 50 },
  );
});

test("a failure leaves neither a part nor a trace of it, and the old file", async () => {
  mkdirSync(path);
  writeFileSync(join(path, "kept"), "old");
  const written = writeSafetensors(path, new Map(), {});
  await expect(written).rejects.toThrow(InputError);
  await expect(written).rejects.toThrow(/written\.safetensors can't be written/);
  expect(readdirSync(folder)).toEqual(["written.safetensors"]);
  expect(readFileSync(join(path, "kept"), "utf8")).toBe("old");
});

// A limit on the size of files acts as a full disk does: the last write is done in part.
test.skipIf(process.platform === "win32")("a full disk is an error, not half a file", () => {
  const source = fileURLToPath(new URL("write-safetensors.ts", import.meta.url));
  const program = `
    const { writeSafetensors } = await import(${JSON.stringify(source)});
    const x = { data: new Float32Array(1e6), shape: [1e6] };
    await writeSafetensors(${JSON.stringify(path)}, new Map([["x", x]]), {})
      .catch(({ name, message }) => process.stdout.write(name + ": " + message));`;
  const output = execFileSync(
    "sh",
    [
      "-c",
      'trap "" XFSZ; ulimit -f 2000; exec "$0" --input-type=module -e "$1"',
      process.execPath,
      program,
    ],
    { encoding: "utf8" },
  );
  expect(output).toMatch(/^InputError: .*written\.safetensors can't be written: EFBIG/);
  expect(readdirSync(folder)).toEqual([]);
});
