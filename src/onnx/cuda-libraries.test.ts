import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { missingCudaLibraries } from "./cuda-libraries.ts";

test.runIf(process.platform === "linux")(
  "CUDA's libraries that are not there are named, with what they come with",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "retake-cuda-"));
    const before = await missingCudaLibraries("");
    expect(before.every((text) => /^lib\w+\.so\.\d+ \(.+\)$/.test(text))).toBe(true);
    for (const name of [
      "libcuda.so.1",
      "libcudart.so.12",
      "libcublas.so.12",
      "libcublasLt.so.12",
      "libcufft.so.11",
    ])
      writeFileSync(join(folder, name), "");
    const without = await missingCudaLibraries(`/nowhere:${folder}`);
    expect(without).toEqual(before.filter((text) => text === "libcudnn.so.9 (cuDNN 9)"));
    writeFileSync(join(folder, "libcudnn.so.9"), "");
    expect(await missingCudaLibraries(folder)).toEqual([]);
    rmSync(folder, { recursive: true });
  },
);

test("the command that fetches CUDA's files is one that the installed runtime's script knows", () => {
  const metadata = createRequire(import.meta.url)("onnxruntime-node/script/install-metadata.js");
  expect(metadata.requirements["linux/x64"]).toContain("cuda12");
  expect(Object.keys(metadata.manifests["linux/x64:cuda12"])).toEqual(
    expect.arrayContaining(
      ["cuda", "shared"].map((part) => `./libonnxruntime_providers_${part}.so`),
    ),
  );
  const command =
    "node node_modules/onnxruntime-node/script/install --onnxruntime-node-install=cuda12";
  for (const file of ["docs/troubleshooting.md", "docs/library.md", "src/onnx/device.ts"])
    expect(readFileSync(file, "utf8"), file).toContain(command);
});
