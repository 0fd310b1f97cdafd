import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import {
  parseCacheFolder,
  parseLinkSettings,
  parseModelSettings,
  parseSettings,
  parseStoreSettings,
} from "./settings.ts";
import { inCapitals, serverVariables } from "./variables.ts";

type Environment = Readonly<Record<string, string>>;

const known = { demoLoras: "/demo/loras", models: ["zimage", "zimage_turbo"] };
const parse = (environment: Environment) => parseSettings(environment, known);

test("what is left out takes the reference's defaults, but for the host", () => {
  const settings = parse({ XDG_DATA_HOME: "/data" });
  expect(settings).toMatchObject({
    host: "127.0.0.1",
    port: 8000,
    outputFolder: "/tmp/inference_output",
    loraFolder: "/demo/loras",
    dataFolder: "/data/retake",
    timeoutSeconds: 3600,
    devices: ["auto"],
    keepOpen: true,
    databaseUrl: undefined,
  });
  expect(settings.uploads).toEqual({ place: "/data/retake/uploads", bytes: 50 * 2 ** 30 });
  expect(settings.loraSource.cacheDir).toBe("/tmp/lora_cache");
  expect(parse({ RETAKE_WEIGHTS: "/models" }).loraFolder).toBe("/app/ai-toolkit/lora_weights");
});

test("uploads go beside results in a bucket, unless they have a place of their own", () => {
  const placeOf = (environment: Environment) =>
    parse({ RETAKE_DATA: "/d", ...environment }).uploads.place;
  expect(placeOf({ OUTPUT_BASE_PATH: "s3://b/p/" })).toBe("s3://b/p/uploads");
  expect(placeOf({ OUTPUT_BASE_PATH: "/out" })).toBe("/d/uploads");
  expect(placeOf({ OUTPUT_BASE_PATH: "s3://b", RETAKE_UPLOADS: "/u" })).toBe("/u");
});

test("names are case-insensitive, empty is not set, offloading opens networks one by one", () => {
  const settings = parse({
    port: "9000",
    BASE_URL: "https://x.example/api//",
    HOST: "",
    enable_cpu_offload: "true",
  });
  expect(settings).toMatchObject({
    port: 9000,
    host: "127.0.0.1",
    baseUrl: "https://x.example/api",
    keepOpen: false,
  });
  expect(inCapitals({ port: "1", PORT: "2", Port: "3" })).toEqual({ PORT: "2" });
});

test("transformers are files by model; a comma in a path stays", () => {
  const text = "zimage=/a b/x,1.gguf, zimage_turbo=/c.safetensors";
  expect(parse({ RETAKE_TRANSFORMERS: text }).transformers).toEqual({
    zimage: "/a b/x,1.gguf",
    zimage_turbo: "/c.safetensors",
  });
});

test.each([
  ["cpu", ["cpu"]],
  ["cpu, cpu", ["cpu", "cpu"]],
  ["cuda", ["cuda"]],
  ["none", []],
])("DEVICE=%s", (text, devices) => expect(parse({ DEVICE: text }).devices).toEqual(devices));

test("the cache is the user's unless a folder is named", () => {
  expect(parseCacheFolder({ XDG_CACHE_HOME: "/cache" })).toBe("/cache/retake");
  expect(parseCacheFolder({ XDG_CACHE_HOME: "/cache", retake_cache: "/own" })).toBe("/own");
  expect(parseCacheFolder({})).toBe(join(homedir(), ".cache/retake"));
});

/** What is said of settings that can't be used. */
function refusalOf(environment: Environment): string {
  try {
    parse(environment);
  } catch (error) {
    return String(error);
  }
  throw new Error("they can be used");
}

/** Each setting that is a path, and what it becomes. */
const paths: Record<string, (environment: Environment) => string | undefined> = {
  RETAKE_WEIGHTS: (env) => parse(env).weights,
  WORKFLOWS_BASE_PATH: (env) => parse(env).loraFolder,
  OUTPUT_BASE_PATH: (env) => parse(env).outputFolder,
  LORA_DOWNLOAD_CACHE_DIR: (env) => parse(env).loraSource.cacheDir,
  RETAKE_DATA: (env) => parse(env).dataFolder,
  RETAKE_UPLOADS: (env) => parse(env).uploads.place,
  RETAKE_API_KEYS: (env) => parse(env).apiKeysFile,
  RETAKE_CACHE: (env) => parse(env).cacheFolder,
  HF_HUB_CACHE: (env) => parse({ RETAKE_WEIGHTS: "hub", ...env }).weights,
  HUGGINGFACE_HUB_CACHE: (env) => parse({ RETAKE_WEIGHTS: "hub", ...env }).weights,
  HF_TOKEN_PATH: (env) => parse(env).hub.tokenFile,
};

test.each(Object.entries(paths))(
  "%s: ~ is the user's home, relative is from here",
  (name, read) => {
    expect(read({ [name]: "~/a" })).toBe(join(homedir(), "a"));
    expect(read({ [name]: "~" })).toBe(homedir());
    expect(read({ [name]: "a/../b" })).toBe(resolve("b"));
    expect(read({ [name]: "/a b/~c" })).toBe("/a b/~c");
    expect(() => read({ [name]: "~other/a" })).toThrow(`${name}: takes a path`);
    expect(() => read({ [name]: "https://x.example/a" })).toThrow("it is a URL");
    expect(() => read({ [name]: " " })).toThrow(`${name}: is blank`);
  },
);

test("folders that others are named after", () => {
  expect(parse({ XDG_DATA_HOME: "~/d" }).dataFolder).toBe(join(homedir(), "d/retake"));
  expect(parse({ XDG_CACHE_HOME: "~/c" }).cacheFolder).toBe(join(homedir(), "c/retake"));
  const hub = { RETAKE_WEIGHTS: "hub" };
  expect(parse({ ...hub, HF_HOME: "~/h" }).weights).toBe(join(homedir(), "h/hub"));
  expect(parse({ ...hub, XDG_CACHE_HOME: "/c" }).weights).toBe("/c/huggingface/hub");
  expect(parse(hub).hub.tokenFile).toBe(join(homedir(), ".cache/huggingface/token"));
});

/** Bounds of each number, ends included. */
const numbers: readonly (readonly [string, number, number])[] = [
  ["PORT", 0, 65_535],
  ["INFERENCE_TIMEOUT", 1, 82_800],
  ["HF_HUB_DOWNLOAD_TIMEOUT", 1, 2_147_483],
  ["RETAKE_MAX_QUEUED", 1, 1_000_000_000],
  ["RETAKE_MAX_LORAS", 1, 16],
  ["RETAKE_MAX_PROMPTS", 1, 1_000_000],
  ["RETAKE_MAX_PROMPT_CHARACTERS", 1, 100_000_000],
  ["RETAKE_MAX_BODY", 1, 2 ** 27],
  ["RETAKE_MAX_PIXEL_STEPS", 4096, 4096 * 4096 * 150],
  ["RETAKE_RETENTION_DAYS", 1, 36_500],
  ["RETAKE_RATE_LIMIT", 1, 1_000_000],
  ["RETAKE_MAX_LORA", 1, 2 ** 50],
  ["RETAKE_LORA_CACHE", 1, 2 ** 50],
  ["RETAKE_MAX_UPLOADS", 1, 2 ** 50],
];

test.each(numbers)("%s: from %i to %i, whole and in decimal digits", (name, least, most) => {
  for (const value of [least, most]) parse({ [name]: String(value) });
  const wrong = [
    "-1",
    "+5",
    "1e3",
    "1e400",
    "0x10",
    "5.5",
    "5.0",
    "NaN",
    "Infinity",
    "5 ",
    "٥",
    "1_0",
  ];
  for (const value of [...wrong, String(least - 1), String(most + 1), "9".repeat(400)]) {
    const given = value.length > 60 ? `${value.slice(0, 60)}…` : value;
    expect(() => parse({ [name]: value }), value).toThrow(
      new RegExp(
        `${name}: takes .* from ${least} to ${most}.*; "${given.replace("+", "\\+")}" was given`,
      ),
    );
  }
});

test("the longest time-out is one that a timer can hold", async () => {
  const { timeoutSeconds, hub } = parse({
    INFERENCE_TIMEOUT: "82800",
    HF_HUB_DOWNLOAD_TIMEOUT: "2147483",
  });
  for (const milliseconds of [timeoutSeconds * 1000, hub.idleMs]) {
    const warnings: Error[] = [];
    const listen = (warning: Error) => warnings.push(warning);
    process.on("warning", listen);
    clearTimeout(setTimeout(() => {}, milliseconds));
    await new Promise((done) => setImmediate(done));
    process.off("warning", listen);
    expect(warnings).toEqual([]);
  }
});

test("a storage has an older name, and both may be given where they say the same", () => {
  const storageWith = (environment: Record<string, string>) =>
    parseModelSettings(environment, known).storage;
  expect(storageWith({})).toBe("auto");
  expect(storageWith({ RETAKE_STORAGE: "f16" })).toBe("f16");
  expect(storageWith({ RETAKE_QUANTIZE: "int8" })).toBe("int8");
  expect(storageWith({ RETAKE_QUANTIZE: "none" })).toBe("original");
  expect(storageWith({ RETAKE_QUANTIZE: "int8", RETAKE_STORAGE: "int8" })).toBe("int8");
  for (const [storage, quantize] of [
    ["f16", "int8"],
    ["int8", "none"],
    ["auto", "int8"],
  ] as const) {
    expect(() => storageWith({ RETAKE_STORAGE: storage, RETAKE_QUANTIZE: quantize })).toThrow(
      `RETAKE_STORAGE (--storage) is ${storage}, and its older name RETAKE_QUANTIZE (--quantize) is ${quantize}`,
    );
  }
});

test.each([
  [{ RETAKE_STORAGE: "bf16" }, "RETAKE_STORAGE: takes auto, original, f32, f16, int8;"],
  [{ RETAKE_QUANTIZE: "int4" }, 'RETAKE_QUANTIZE: takes none, int8; "int4" was given'],
  [{ OFFLOAD_MODE: "some" }, "OFFLOAD_MODE: takes none, model, sequential;"],
  [{ RETAKE_LOG_LEVEL: "loud" }, "RETAKE_LOG_LEVEL: takes fatal,"],
  [{ HF_HUB_OFFLINE: "maybe" }, "HF_HUB_OFFLINE: takes 1, true,"],
  [{ DEVICE: "cpu," }, "one of its names is empty"],
  [{ DEVICE: "," }, "one of its names is empty"],
  [{ DEVICE: "gpu" }, 'there is no device "gpu"'],
  [{ DEVICE: "none,cpu" }, "none stands alone"],
  [{ DEVICE: "auto,cpu" }, "auto stands alone"],
  [{ DEVICE: "coreml" }, "coreml is not offered"],
  [{ DEVICE: Array(65).fill("cpu").join() }, "DEVICE: takes auto, or up to 64 of"],
  [{ HOST: "http://0.0.0.0" }, "HOST: takes an address or a host name"],
  [{ HOST: "[::1]" }, "HOST: takes an address or a host name, without port and brackets"],
  [{ HOST: "a b" }, "HOST: takes an address or a host name"],
  [{ BASE_URL: "x.example" }, "BASE_URL: takes an http or https URL"],
  [{ BASE_URL: "ftp://x.example" }, "BASE_URL: takes an http or https URL"],
  [{ BASE_URL: "https://x.example/?a=b" }, "it has a query or a fragment"],
  [{ BASE_URL: "https://x.example/#a" }, "it has a query or a fragment"],
  [{ HF_ENDPOINT: "mirror" }, "HF_ENDPOINT: takes an http or https URL"],
  [{ DATABASE_URL: "mysql://x/y" }, "DATABASE_URL: takes a postgres:// URL"],
  [{ OUTPUT_BASE_PATH: "gs://bucket/x" }, "OUTPUT_BASE_PATH: takes a path, or s3://bucket/prefix"],
  [{ OUTPUT_BASE_PATH: "s3://" }, "that is no s3://bucket/prefix"],
  [{ RETAKE_UPLOADS: "s3://bucket/a?b" }, "that is no s3://bucket/prefix"],
  [{ RETAKE_ALLOW_ADDRESSES: "10.0.0.0/99" }, "RETAKE_ALLOW_ADDRESSES: takes addresses, CIDR"],
  [{ RETAKE_ALLOWED_HOSTS: "https://x.example" }, "RETAKE_ALLOWED_HOSTS: takes host names"],
  [{ RETAKE_CORS_ORIGINS: "page.example" }, '"page.example" is none'],
  [{ RETAKE_CORS_ORIGINS: "https://page.example/" }, "write https://page.example"],
  [{ RETAKE_CORS_ORIGINS: "https://Page.example:443" }, "write https://page.example"],
  [{ RETAKE_CORS_ORIGINS: "null" }, '"null" is none'],
  [{ RETAKE_TRANSFORMERS: "/a.gguf" }, '"/a.gguf" is none'],
  [{ RETAKE_TRANSFORMERS: "zimage=a,zimage=b" }, "it has zimage twice"],
  [{ RETAKE_TRANSFORMERS: "sdxl=a" }, 'there is no model "sdxl"; take zimage, zimage_turbo'],
  [{ RETAKE_AUTO_PULL: "1" }, "RETAKE_AUTO_PULL: needs RETAKE_WEIGHTS"],
  [{ RETAKE_MAX_QUEUE: "5" }, "RETAKE_MAX_QUEUE is no setting"],
])("%o is refused by name", (environment, message) => {
  expect(() => parse(environment as Environment)).toThrow(message);
});

test.each([
  "https://page.example",
  "http://localhost:3000",
  "*",
  "chrome-extension://abcdef, https://a.example",
])("origins that browsers send: %s", (text) => {
  expect(parse({ RETAKE_CORS_ORIGINS: text }).corsOrigins).toEqual(text.split(", "));
});

const base64 = (bytes: number) => Buffer.alloc(bytes, "k").toString("base64");

test("the key of webhooks is what Standard Webhooks asks for, or a text", () => {
  const keyOf = (text: string) => parse({ RETAKE_WEBHOOK_SECRET: text }).webhookKey;
  for (const bytes of [24, 32, 64]) expect(keyOf(`whsec_${base64(bytes)}`)).toHaveLength(bytes);
  expect(keyOf("a secret of 20 chars")).toEqual(Buffer.from("a secret of 20 chars"));
  for (const text of [`whsec_${base64(8)}`, `whsec_${base64(23)}`, `whsec_${base64(65)}`])
    expect(() => keyOf(text), text).toThrow(
      /RETAKE_WEBHOOK_SECRET: takes .*24 to 64.*it has \d+ bytes/,
    );
  expect(() => keyOf("whsec_not-base64!not-base64!")).toThrow("is no base64");
  expect(() => keyOf("short")).toThrow("it has 5 bytes");
});

test("a secret is refused without being shown", () => {
  for (const [name, value] of [
    ["RETAKE_SECRET", "opensesame"],
    ["RETAKE_WEBHOOK_SECRET", "opensesame"],
    ["HF_TOKEN", "hf_opensesame hf_opensesame"],
    ["DATABASE_URL", "mysql://user:opensesame@x/y"],
    ["BASE_URL", "https://user:opensesame@x.example"],
    ["HF_ENDPOINT", "https://opensesame@x.example"],
  ] as const) {
    const error = refusalOf({ [name]: value });
    expect(error, name).toContain(`${name}: takes `);
    expect(error, name).not.toContain("opensesame");
  }
});

test("all that is wrong is said at once", () => {
  const names = [
    "PORT",
    "DEVICE",
    "HF_ENDPOINT",
    "RETAKE_WEBHOOK_SECRET",
    "RETAKE_ALLOW_ADDRESSES",
  ];
  const wrong = Object.fromEntries(names.map((name) => [name, "?"]));
  expect(() => parse({ ...wrong, RETAKE_TRANSFORMERS: "sdxl=a", RETAKE_X: "1" })).toThrow(
    new RegExp(["RETAKE_X is no", ...names.toSorted()].map((name) => `(?=.*${name})`).join("")),
  );
});

test("all settings can be wrong at once", () => {
  const wrong = Object.keys(serverVariables).filter((name) => !/^(HF_|XDG_|HUGGING)/.test(name));
  const blank = Object.fromEntries(wrong.map((name) => [name, "\t".repeat(500)]));
  const problems = wrong.map((name) => `${name}: is blank.`);
  const message = refusalOf(blank);
  for (const problem of problems) expect(message).toContain(problem);
  const numeric = Object.fromEntries(numbers.map(([name]) => [name, "x".repeat(500)]));
  expect(() => parse({ ...blank, ...numeric })).toThrow(
    new RegExp(numbers.map(([name]) => `(?=.*${name}: takes )`).join("")),
  );
});

test("what a command doesn't use is not in its way", () => {
  const broken = { BASE_URL: "?", PORT: "x", RETAKE_WEBHOOK_SECRET: "x" };
  const store = { ...broken, RETAKE_QUANTIZE: "x", RETAKE_MAX_LORA: "x" };
  expect(parseStoreSettings({ ...store, RETAKE_WEIGHTS: "/w" }).weights).toBe("/w");
  const model = { ...broken, HF_ENDPOINT: "?", RETAKE_LORA_CACHE: "x" };
  expect(parseModelSettings({ ...model, RETAKE_QUANTIZE: "int8" }, known)).toMatchObject({
    storage: "int8",
    weights: "demo",
  });
  expect(parseLinkSettings({ ...broken, RETAKE_MAX_LORA: "5" }).loraSource.fileBytes).toBe(5);
  expect(parseCacheFolder({ ...store, RETAKE_CACHE: "/c" })).toBe("/c");
});
