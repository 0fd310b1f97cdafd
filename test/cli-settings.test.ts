import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startRetake } from "./retake-process.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-cli-settings-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const writeEnv = (content: string | Buffer) => writeFileSync(join(folder, ".env"), content);
const retake = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  startRetake(args, { cwd: folder, env }).ended;
/** Fails at the first thing that is not there, before anything is computed. */
const generate = ["generate", "--model", "zimage_turbo", "--prompt", "a fox"];

test("`.env` counts for `cache`, in any letter case; the environment comes before it", async () => {
  writeEnv("\uFEFFretake_cache='own cache' # not the user's\nUNKNOWN=1\n");
  const { code, stdout } = await retake(["cache", "list"]);
  expect({ code, stdout }).toEqual({
    code: 0,
    stdout: `0 files, 0 MiB in ${join(folder, "own cache")}\n`,
  });
  const set = await retake(["cache", "list"], { Retake_Cache: "~/other" });
  expect(set.stdout).toContain(` in ${join(folder, "other")}\n`);
  const unset = await retake(["cache", "list"], { RETAKE_CACHE: "" });
  expect(unset.stdout).toContain(` in ${join(folder, ".cache/retake")}\n`);
});

test("`generate` takes the weights, the transformer and the device that a server takes", async () => {
  writeEnv("RETAKE_WEIGHTS=store\n");
  const missing = await retake(generate);
  expect(missing).toMatchObject({ code: 2, stdout: "" });
  expect(missing.stderr).toContain(`${join(folder, "store")}: there is no such folder`);
  const environment = await retake(generate, { RETAKE_WEIGHTS: "~/mine" });
  expect(environment.stderr).toContain(`${join(folder, "mine")}: there is no such folder`);
  const flag = await retake([...generate, "--weights", "theirs"], { RETAKE_WEIGHTS: "~/mine" });
  expect(flag.stderr).toContain(`${join(folder, "theirs")}: there is no such folder`);

  writeEnv("RETAKE_TRANSFORMERS=zimage_turbo=own.gguf\n");
  const transformer = await retake(generate);
  expect(transformer).toMatchObject({ code: 2, stdout: "" });
  expect(transformer.stderr).toContain(join(folder, "own.gguf"));

  const device = process.platform === "win32" ? "cuda" : "dml";
  const other = await retake(generate, { DEVICE: device });
  expect(other.stderr).toContain(`--device ${device} is not in this installation`);
});

test("`generate` rounds as RETAKE_QUANTIZE says, unless --quantize says otherwise", async () => {
  writeEnv("RETAKE_QUANTIZE=int8\nRETAKE_CACHE=cache\n");
  const small = ["--width", "64", "--height", "64", "--steps", "1", "--json"];
  const rounded = await retake([...generate, ...small]);
  expect(JSON.parse(rounded.stdout)).toMatchObject({ transformer: { quantization: "int8" } });
  expect(rounded.stderr).toMatch(/^storage int8 on cpu: it was asked for$/m);
  const plain = await retake([...generate, ...small, "--quantize", "none"]);
  expect(JSON.parse(plain.stdout)).toMatchObject({ transformer: { quantization: null } });
  expect(plain.stderr).not.toContain("storage");
});

test("what is nearer counts under both names of a storage; what contradicts itself is refused", async () => {
  writeEnv("RETAKE_QUANTIZE=int8\nRETAKE_CACHE=cache\n");
  const small = ["--width", "64", "--height", "64", "--steps", "1", "--json"];
  const own = await retake([...generate, ...small], { RETAKE_STORAGE: "f16" });
  expect(JSON.parse(own.stdout)).toMatchObject({
    storage: "f16",
    transformer: { quantization: null },
  });
  const flag = await retake([...generate, ...small, "--storage", "original"], {
    RETAKE_STORAGE: "f16",
  });
  expect(JSON.parse(flag.stdout)).toMatchObject({ storage: "original" });
  for (const command of [generate, ["preview", "job"], ["compare", "a.png", "b.png"]]) {
    const both = await retake([...command, "--storage", "f16", "--quantize", "int8"]);
    expect(both.code).toBe(2);
    if (command[0] === "compare") continue;
    expect(both.stderr).toContain("--storage) is f16");
    expect(both.stderr).toContain("--quantize) is int8");
  }
});

test("no server setting stands in the way of what doesn't use it", async () => {
  writeEnv("BASE_URL=?\nPORT=http\nRETAKE_WEBHOOK_SECRET=short\nDEVICE=none\n");
  expect(await retake(["cache", "list"])).toMatchObject({ code: 0, stderr: "" });
  expect((await retake([...generate, "--weights", "store"])).stderr).toContain("no such folder");
  const serve = await retake(["serve"]);
  expect(serve).toMatchObject({ code: 2, stdout: "" });
  for (const name of ["BASE_URL", "PORT", "RETAKE_WEBHOOK_SECRET"])
    expect(serve.stderr).toContain(`${name}: takes `);
});

test.each([
  ["UTF-16", () => writeEnv(Buffer.from("\uFEFFRETAKE_CACHE=x", "utf16le")), "it is UTF-16"],
  ["NUL", () => writeEnv("RETAKE_CACHE=x\0"), "it holds NUL bytes"],
  ["Latin-1", () => writeEnv(Buffer.from("A=ä", "latin1")), "it is not UTF-8"],
  ["a folder", () => mkdirSync(join(folder, ".env")), "it is a folder"],
])("a `.env` that is %s stops every command", async (_, write, reason) => {
  write();
  for (const args of [["cache", "list"], ["serve"]]) {
    const { code, stdout, stderr } = await retake(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(`.env can't be read: ${reason}`);
  }
});

test("a worker without a device is refused", async () => {
  const { code, stdout, stderr } = await retake(["worker"], { DEVICE: "none" });
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toContain("DEVICE is none");
});

test.each(["0", "1.5", "1e400"])("keys add --rate %s is refused", async (rate) => {
  const { code, stdout, stderr } = await retake([
    "keys",
    "add",
    "a",
    "--file",
    "k",
    "--rate",
    rate,
  ]);
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toMatch(/--rate.*(a whole number from 1 to 1000000|is not a number)/);
});

test("a file of API keys that is no text stops the start", async () => {
  for (const content of [Buffer.from("{}\0"), Buffer.from("\uFEFF{}", "utf16le")]) {
    writeFileSync(join(folder, "keys.json"), content);
    const { code, stdout, stderr } = await retake(["serve", "--port", "0"], {
      RETAKE_API_KEYS: "~/keys.json",
      OUTPUT_BASE_PATH: "out",
    });
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(`${join(folder, "keys.json")} can't be read: it `);
  }
});
