import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { goldenFolder } from "./golden.ts";
import { trainedBy, withMetadata } from "./lora-header.ts";
import { startRetake } from "./retake-process.ts";

const tiny = join(goldenFolder, "tiny");
const turbo = "Tongyi-MAI/Z-Image-Turbo";
let folder: string;
let out: string;
let home: string;

beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), "retake-cli-home-"));
  folder = mkdtempSync(join(tmpdir(), "retake-cli-"));
  out = join(folder, "a.png");
});
afterAll(() => {
  for (const made of [folder, home]) rmSync(made, { recursive: true });
});

const start = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  startRetake(args, { cwd: home, env });
const retake = (...args: string[]) => start(args).ended;

function generateArgs(...more: string[]): string[] {
  const small = ["--width", "64", "--height", "64", "--steps", "2", "--guidance", "1"];
  const profile = ["--profile", "reference"];
  const model = ["--model", "zimage_turbo", "--weights", join(tiny, "store")];
  return ["generate", ...model, "--prompt", "a fox", ...small, ...profile, "--out", out, ...more];
}

test("generate writes the picture and says all that made it", async () => {
  const { code, stdout, stderr } = await retake(
    ...generateArgs("--seed", "18446744073709551615", "--json"),
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toContain('"seed":18446744073709551615');
  const result: unknown = JSON.parse(stdout);
  expect(result).toMatchObject({
    file_path: out,
    width: 64,
    guidance_scale: 1,
    standard_cfg: 2,
    schedule: "pin",
  });
  expect(existsSync(out)).toBe(true);
  rmSync(out);
});

test("the profile is the LoRA's era if nothing else is asked for, and both ways it is said", async () => {
  const lora = join(folder, "old.safetensors");
  writeFileSync(lora, trainedBy(readFileSync(join(tiny, "lora-mixed-ranks.safetensors")), "0.7.9"));
  const small = ["--width", "64", "--height", "80", "--steps", "2", "--json", "--out", out];
  const model = ["--model", "zimage_turbo", "--weights", join(tiny, "store")];
  const args = ["generate", ...model, "--prompt", "a fox", "--lora", lora, ...small];
  const chosen = await retake(...args);
  expect(chosen.stderr).toBe(
    "profile preview-0.7.6: the LoRA was trained with ai-toolkit 0.7.9; guidance 1 by default of zimage_turbo\n",
  );
  expect(JSON.parse(chosen.stdout)).toMatchObject({
    profile: "preview-0.7.6",
    profile_asked: "preview",
    profile_reason: "the LoRA was trained with ai-toolkit 0.7.9",
    height: 64,
    standard_cfg: 1,
    warnings: [],
  });
  const { comments } = await sharp(out).metadata();
  const written = { profile: "preview-0.7.6", profile_asked: "preview" };
  expect(JSON.parse(comments![0]!.text)).toMatchObject(written);

  const other = await retake(...args, "--profile", "diffusers");
  const [warning] = JSON.parse(other.stdout).warnings;
  expect(warning).toMatch(/0\.7\.9, .* size 64x64 instead of 64x80, .*--profile preview-0\.7\.6/);
  expect(other.stderr).toBe(`warning: ${warning}\n`);

  const described = await retake("lora", lora);
  expect(described.stdout).toMatch(/profile +--profile preview-0\.7\.6/);
  expect(described.stdout).toMatch(/warning: a request .* "profile": "preview"/);
  for (const made of [lora, out]) rmSync(made);
});

test("a GGUF file, rounding on load, and the cache that both fill", async () => {
  const cache = mkdtempSync(join(tmpdir(), "retake-cache-"));
  const env = { RETAKE_CACHE: cache };
  const gguf = join(goldenFolder, "quantised/gguf/mixed.gguf");
  try {
    for (const [flag, value, quantization, file, said] of [
      ["--transformer", gguf, /^gguf Q4_0, /, "mixed.gguf", ""],
      ["--quantize", "int8", /^int8$/, null, "storage int8 on cpu: it was asked for\n"],
    ] as const) {
      const { code, stdout, stderr } = await start(generateArgs(flag, value, "--json"), env).ended;
      expect({ code, stderr }).toEqual({ code: 0, stderr: said });
      const result = { file, quantization: expect.stringMatching(quantization) };
      expect(JSON.parse(stdout).transformer).toEqual(result);
    }
    rmSync(out);
    expect((await start(["cache"], env).ended).stdout).toMatch(
      /gguf-.*from mixed\.gguf.*int8-.*from diffusion_pytorch_model\.safetensors.*2 files/s,
    );
    expect((await start(["cache", "clear"], env).ended).stdout).toMatch(/deleted 2 files/);
    expect(readdirSync(cache)).toEqual([]);
  } finally {
    rmSync(cache, { recursive: true });
  }
});

test("models and lora describe what is there", async () => {
  expect((await retake("models")).stdout).toMatch(/zimage_deturbo\n.*ostris\/Z-Image-De-Turbo/);
  const { models, profiles } = JSON.parse((await retake("models", "--json")).stdout);
  expect(models).toHaveLength(3);
  expect(profiles).toContainEqual({
    name: "preview-0.10.21",
    from: "0.10.21",
    to: "0.10.24",
    schedule: "pin",
    updates: "N - 1",
    divisor: 16,
    other_sizes: "floor",
    guidance: "max(0, g - 1)",
    guidance_above: 0,
  });
  const { code, stdout } = await retake(
    "lora",
    join(tiny, "lora-mixed-ranks.safetensors"),
    "--json",
  );
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ rank: [1, 2, 4, 8], base_model: "zimage" });
});

test("what a header says reaches the terminal as plain text, a line a field", async () => {
  const file = join(folder, "hostile.safetensors");
  const said = "\u001b[2Jx\nunusable: all is lost\u202e";
  const metadata = {
    name: said,
    ss_output_name: said,
    ss_base_model_version: said,
    "modelspec.trigger_phrase": said,
    software: JSON.stringify({ name: "ai-toolkit", version: said }),
  };
  const lora = readFileSync(join(tiny, "lora-mixed-ranks.safetensors"));
  writeFileSync(file, withMetadata(lora, metadata));
  const { code, stdout } = await retake("lora", file);
  expect(code).toBe(0);
  expect(stdout).toContain("\\u{1b}[2Jx unusable: all is lost");
  expect(stdout).not.toMatch(/(?!\n)[\p{Cc}\p{Bidi_Control}]|^unusable/mu);
  const drawn = await retake(...generateArgs("--lora", file, "--profile", "preview"));
  expect(drawn.stderr).toMatch(
    /^profile preview-0\.10\.25: the LoRA: ".*" is not a version of ai-toolkit[^\n]*\n$/,
  );
  expect(drawn.stderr).not.toMatch(/(?!\n)[\p{Cc}\p{Bidi_Control}]/u);
  for (const made of [file, out]) rmSync(made);
});

test("lora draws how strongly layers are changed, and lists what is wrong", async () => {
  const picture = join(folder, "strength.png");
  const { code, stdout } = await retake(
    "lora",
    join(tiny, "lora-mixed-ranks.safetensors"),
    "--strength",
    picture,
  );
  expect(code).toBe(0);
  expect(stdout).toMatch(/ai-toolkit 0\.10\.25 and later: guidance max\(0, g - 1\)/);
  expect(stdout).toMatch(/problem: It is for layers 48 wide/);
  expect((await sharp(picture).metadata()).format).toBe("png");
  rmSync(picture);
  expect((await retake("lora", "a.safetensors", "--strength", "a.gif")).stderr).toMatch(
    /a\.gif: the picture is an \.svg or a \.png file/,
  );
});

test.each([
  [["generate", "--prmopt", "a fox"], /unknown option '--prmopt'.*--prompt/s],
  [["generate"], /required option '--prompt <text>' not specified/],
  [["keys", "add", "alice", "--fiel", "x"], /unknown option '--fiel'.*--file/s],
  [["keys", "remove", "alice"], /required option '--file <file>' not specified/],
])("%j names the option that is wrong", async (args, message) => {
  const { code, stderr, stdout } = await retake(...args);
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toMatch(message);
});

describe("bad input: one paragraph, exit code 2, nothing left behind", () => {
  const cases: [string[], RegExp][] = [
    [["--width", "0"], /--width: .*64/],
    [["--width", "63"], /--width: .*64/],
    [["--height", "5000"], /--height: .*4096/],
    [["--steps", "0"], /--steps: .*1/],
    [["--guidance", "-1"], /--guidance: .*0/],
    [["--seed", "1.5"], /"1\.5" is not a whole number/],
    [["--seed", "-2"], /--seed: .*-1/],
    [["--profile", "none"], /reference, diffusers/],
    [["--profile", "diffusers", "--width", "72"], /Use 64 or 80/],
    [["--model", "zimage_tubro"], /zimage_turbo/],
    [["--out", "/proc/none/a.png"], /can't be written/],
    [["--out", "a.gif"], /\.png, \.jpg, \.jpeg, \.webp/],
    [["--trace", "/proc/none/t.safetensors"], /can't be written/],
    [["--weights", "/none"], /no such folder/],
    [["--model", "zimage"], /Tongyi-MAI\/Z-Image is not in/],
    [["--lora", "/none.safetensors"], /none\.safetensors can't be opened/],
    [["--lora", `${join(tiny, "lora-mixed-ranks.safetensors")}=3`], /MULTIPLIER: .*2/],
    [["--lora", "a.safetensors=x"], /"x" is not a multiplier/],
    [["--transformer", "/none.gguf"], /none\.gguf can't be opened/],
    [
      ["--transformer", join(tiny, "lora-mixed-ranks.safetensors")],
      /lora-mixed-ranks\.safetensors is not a Z-Image transformer: .*--lora/,
    ],
    [["--quantize", "int4"], /Allowed choices are none, int8/],
    [["--device", "coreml"], /coreml is not offered.*take webgpu/s],
    [["--device", "webgp"], /no device "webgp" \(did you mean webgpu\?\): take auto, cpu, cuda/],
    [["--device", "gpu"], /no device "gpu": take auto, cpu, cuda, webgpu, dml/],
    [["--promt", "x"], /unknown option.*--prompt/s],
  ];
  test.each(cases)("%j", async (args, reason) => {
    const { code, stdout, stderr } = await retake(...generateArgs(...args));
    expect(stderr).toMatch(reason);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).not.toContain("    at ");
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe("a damaged store is refused by file and repository", () => {
  const damage: [string, (store: string) => void, RegExp][] = [
    [
      "no shard",
      (store) => rmSync(join(store, "vae/diffusion_pytorch_model.safetensors")),
      /vae.*Fetch Tongyi-MAI\/Z-Image-Turbo/,
    ],
    [
      "cut file",
      (store) => {
        const file = join(store, "transformer/diffusion_pytorch_model.safetensors");
        writeFileSync(file, readFileSync(file).subarray(0, 20_000));
      },
      /cut off/,
    ],
    [
      "NaN weights",
      (store) => {
        const file = join(store, "transformer/diffusion_pytorch_model.safetensors");
        const bytes = readFileSync(file);
        bytes.fill(0xff, bytes.length - 4096);
        writeFileSync(file, bytes);
      },
      /is damaged: tensor \S+ holds NaN/,
    ],
    [
      "no config",
      (store) => rmSync(join(store, "text_encoder/config.json")),
      /text_encoder.config\.json can't be read/,
    ],
  ];
  test.each(damage)("%s", async (_, break_, reason) => {
    const store = mkdtempSync(join(tmpdir(), "retake-store-"));
    try {
      cpSync(join(tiny, "store"), store, { recursive: true });
      break_(join(store, turbo));
      const { code, stderr } = await retake(...generateArgs("--weights", store));
      expect(stderr).toMatch(reason);
      expect(code).toBe(2);
      expect(readdirSync(folder)).toEqual([]);
    } finally {
      rmSync(store, { recursive: true });
    }
  });
});

// What a process has mapped is seen in /proc.
test.skipIf(process.platform !== "linux")(
  "Ctrl-C stops between steps and leaves nothing",
  async () => {
    // In JSON no line tells how long it takes: whether one would depends on this machine's speed.
    const big = ["--width", "1024", "--height", "1024", "--steps", "150", "--json"];
    const { child, ended } = start(generateArgs(...big));
    const mapped = () => readFileSync(`/proc/${child.pid}/maps`, "utf8");
    await expect.poll(mapped, { timeout: 60_000 }).toMatch(/Turbo\/transformer\/.*safetensors/);
    child.kill("SIGINT");
    const { code, stderr } = await ended;
    expect({ code, stderr }).toEqual({ code: 130, stderr: "error: canceled\n" });
    expect(readdirSync(folder)).toEqual([]);
  },
);
