import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openPipeline } from "../src/pipeline/open.ts";
import type { StoreShape } from "../src/pipeline/random-store.ts";
import {
  randomStoreBytes,
  realLayers,
  realShape,
  writeRandomStore,
} from "../src/pipeline/random-store.ts";
import { testDevices } from "./devices.ts";
import { startRetake } from "./retake-process.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-bench-test-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const start = (args: readonly string[], env = {}) => startRetake(args, { cwd: folder, env });
const retake = (...args: string[]) => start(args).ended;

const small = ["--weights", "demo", "--size", "64,128", "--steps", "2"];

test("a table, and the same as one line of JSON", async () => {
  const { code, stdout } = await retake("bench", ...small, "--device", "cpu");
  expect(code).toBe(0);
  expect(stdout).toMatch(/^device +cpu/m);
  expect(stdout).toMatch(/^128x128 +\S+ s +\S+ s +\S+ s$/m);
  const json = JSON.parse(stdout.trimEnd().split("\n").at(-1)!);
  expect(json).toMatchObject({
    node: process.versions.node,
    device: "cpu",
    model: "zimage_turbo",
    random_layers: null,
    storage: "original",
    steps: 2,
    sizes: [{ size: 64 }, { size: 128, extrapolated_step_seconds: null, step_bytes: null }],
    difference: null,
  });
  for (const figures of json.sizes) {
    for (const name of ["step_seconds", "first_step_seconds", "decode_seconds"])
      expect(figures[name]).toBeGreaterThan(0);
    expect(figures.request_seconds).toBeGreaterThan(figures.first_step_seconds);
  }
  expect(json.peak_bytes).toBeGreaterThan(json.weight_bytes);
});

test("8 bits on a CPU are compared with the weights as stored", async () => {
  const { stdout } = await retake("bench", ...small, "--storage", "int8", "--json");
  const { storage, difference } = JSON.parse(stdout);
  expect(storage).toBe("int8");
  expect(difference.storage).toBe("int8");
  expect(difference.prediction).toBeGreaterThan(1e-4);
  expect(difference.prediction).toBeLessThan(0.2);
});

test.skipIf(!testDevices.includes("webgpu"))(
  "on WebGPU: weights cross before the first step ends, and the numbers are the CPU's",
  async () => {
    // Which driver the loader takes, where the tests chose one.
    const driver = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => name.startsWith("VK_")),
    ) as Record<string, string>;
    const args = ["bench", ...small, "--device", "webgpu", "--storage", "f32", "--json"];
    const { code, stdout } = await start(args, driver).ended;
    expect(code).toBe(0);
    const { device, card, sizes, weight_bytes, difference } = JSON.parse(stdout);
    expect({ device, storage: difference.storage }).toEqual({ device: "webgpu", storage: "f32" });
    expect(card).toMatch(/./);
    for (const { loading_bytes, step_bytes } of sizes) {
      expect(step_bytes).toBeLessThan(weight_bytes / 100);
      expect(loading_bytes).toBeGreaterThan(step_bytes);
      expect(loading_bytes).toBeLessThan(weight_bytes);
    }
    expect(difference.prediction).toBeLessThan(1e-4);
    expect(difference.picture).toBeLessThan(1e-3);
  },
);

test.each([
  [["--size", "64,63"], /"63" is not a multiple of 16 from 64 to 4096/],
  [["--size", "72"], /"72" is not a multiple of 16 from 64 to 4096/],
  [["--guidance", "21"], /"21" is not a number from 0 to 20/],
  [["--guidance", "-1"], /"-1" is not a number from 0 to 20/],
  [["--steps", "1"], /"1" is not a whole number from 2/],
  [["--layers", "31"], /"31" is not a whole number from 1 to 30/],
  [["--random", "--weights", "demo"], /--random: weights are named too \(demo\)/],
  [["--layers", "2", "--transformer", "a.gguf"], /--layers: weights are named too \(a\.gguf\)/],
  [["--random", "--model", "zimage"], /--model zimage: random weights are made for zimage_turbo/],
  [["--weights", "demo", "--keep"], /--keep: no random weights are made/],
  [["--weights", "demo", "--model", "sdxl"], /model "sdxl" is not known/],
])("%j names what is wrong", async (args, message) => {
  const { code, stdout, stderr } = await start(["bench", ...args], { DEVICE: "auto" }).ended;
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toMatch(message);
  // Neither weights nor a device were looked for.
  expect(stderr).not.toMatch(/^(device|writing)/m);
});

test("Ctrl-C ends the writing of random weights and leaves nothing", async () => {
  const cache = join(folder, "cache");
  const { child, ended } = start(["bench", "--layers", "1"], { RETAKE_CACHE: cache });
  const store = join(cache, "bench-1-layers");
  const written = () =>
    existsSync(store) && readdirSync(store).some((name) => name.endsWith(".tmp"));
  await expect.poll(written, { timeout: 60_000 }).toBe(true);
  child.kill("SIGINT");
  const { code, stderr } = await ended;
  expect(code).toBe(130);
  expect(stderr).toMatch(
    /^writing random weights of 1 of 30 layers: 1\.9 GB in .*\nerror: canceled\n$/,
  );
  expect(readdirSync(cache)).toEqual([]);
});

test("random weights of any shape make a picture of finite numbers", async () => {
  const real = realShape(realLayers);
  expect(randomStoreBytes(real)).toBeGreaterThan(12.3e9);
  const shape: StoreShape = {
    transformer: {
      ...{ ...real.transformer, n_layers: 2, dim: 96, n_heads: 3, n_kv_heads: 3 },
      ...{ axes_dims: [8, 12, 12], cap_feat_dim: 64 },
    },
    vae: { ...real.vae, block_out_channels: [8, 8, 16, 16], norm_num_groups: 4 },
    textEncoder: { ...real.textEncoder, hidden_size: 64 },
  };
  const store = join(folder, "store");
  let written = 0;
  await writeRandomStore(store, shape, {
    signal: new AbortController().signal,
    onProgress: (bytes) => {
      written = bytes;
    },
  });
  expect(written).toBe(randomStoreBytes(shape));
  await using pipeline = await openPipeline({ model: "zimage_turbo", weights: store });
  const request = { prompt: "a", width: 64, height: 64, steps: 3, guidanceScale: 3 } as const;
  const { image } = await pipeline.generate({ ...request, profile: "diffusers" });
  expect(image.data.every(Number.isFinite)).toBe(true);
  // Not one colour: something was computed.
  expect(Math.max(...image.data) - Math.min(...image.data)).toBeGreaterThan(0.01);
});
