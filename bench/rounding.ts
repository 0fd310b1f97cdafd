import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { narrowTo, roundToDtype } from "../src/tensor/dtype.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import type { RoundAsTrained } from "../src/weights/round-as-trained.ts";
import { roundAsTrained } from "../src/weights/round-as-trained.ts";
import { readSafetensors } from "../src/weights/safetensors.ts";
import { writeSafetensors } from "../src/weights/write-safetensors.ts";

// Rounds four matrices of the real size, [10240, 3840] in bf16, as in training: values per second of
// one processor, and memory. Processor time, so that what runs beside it counts for less.
// usage: rounding.ts [RANK OF THE ADAPTER]

const rank = Number(process.argv[2] ?? 32);
const [rows, columns, count] = [10240, 3840, 4];
const folder = mkdtempSync(join(tmpdir(), "retake-rounding-"));
const file = join(folder, "weights.safetensors");

function random(...shape: [number, number]): Tensor {
  const data = Float32Array.from({ length: shape[0] * shape[1] }, () => (Math.random() - 0.5) / 10);
  roundToDtype(data, "BF16");
  return { data, shape };
}

try {
  const shape = [rows, columns];
  const data = narrowTo(Float32Array.from(random(rows, columns).data), "BF16");
  const names = Array.from({ length: count }, (_, i) => `matrix.${i}`);
  const stored = new Map(names.map((name) => [name, { data, dtype: "BF16", shape }] as const));
  await writeSafetensors(file, stored, {});
  const pair = { loraA: random(rank, columns), loraB: random(rows, rank) };
  const merged = new Map(names.map((name) => [name, async () => pair]));
  const cases: Record<string, Pick<RoundAsTrained, "method" | "merged">> = {
    quanto: { method: "quanto", merged: new Map() },
    torchao: { method: "torchao", merged: new Map() },
    [`torchao, adapter of rank ${rank}`]: { method: "torchao", merged },
  };
  const { tensors: weights } = await readSafetensors(file);
  const millionsPerSecond: Record<string, number> = {};
  for (const [name, how] of Object.entries(cases)) {
    const before = process.cpuUsage();
    const place = { sources: [file], cacheFolder: join(folder, name) };
    await roundAsTrained({ weights, matrices: names, dtype: "bf16", ...how, ...place }, {});
    const { user, system } = process.cpuUsage(before);
    millionsPerSecond[name] = Math.round((rows * columns * count) / (user + system));
  }
  const result = {
    processor: cpus()[0]?.model,
    node: process.version,
    values: rows * columns * count,
    millionsPerSecond,
    residentMiB: Math.round(process.memoryUsage.rss() / 2 ** 20),
  };
  const results = fileURLToPath(new URL("results/rounding.json", import.meta.url));
  writeFileSync(results, `${JSON.stringify(result, null, 2)}\n`);
  process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
} finally {
  rmSync(folder, { recursive: true });
}
