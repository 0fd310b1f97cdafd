import { execFile } from "node:child_process";
import { readdir } from "node:fs/promises";
import { promisify } from "node:util";

/** What ONNX Runtime's CUDA files load, and what each comes with. */
const libraries = {
  "libcuda.so.1": "NVIDIA's driver",
  "libcudart.so.12": "CUDA 12",
  "libcublas.so.12": "cuBLAS of CUDA 12",
  "libcublasLt.so.12": "cuBLAS of CUDA 12",
  "libcufft.so.11": "cuFFT of CUDA 12",
  "libcudnn.so.9": "cuDNN 9",
} as const;

/**
 * Which of them the system's loader would not find, with what they come with: in its cache, and in
 * the folders of LD_LIBRARY_PATH.
 */
export async function missingCudaLibraries(
  paths: string = process.env.LD_LIBRARY_PATH ?? "",
): Promise<string[]> {
  const cache = await promisify(execFile)("/sbin/ldconfig", ["-p"]).catch(() => null);
  const folders = await Promise.all(
    paths
      .split(":")
      .filter((folder) => folder !== "")
      .map((folder) => readdir(folder).catch(() => [])),
  );
  const there = new Set(folders.flat());
  for (const [, name = ""] of (cache?.stdout ?? "").matchAll(/^\s+(\S+) \(/gm)) there.add(name);
  return Object.entries(libraries)
    .filter(([name]) => !there.has(name))
    .map(([name, from]) => `${name} (${from})`);
}
