import { expect, test } from "vitest";
import { parseSettings } from "./settings.ts";

test("what is left out takes the reference's defaults, but for the host", () => {
  const settings = parseSettings({ XDG_DATA_HOME: "/data" }, "/demo/loras");
  expect(settings).toMatchObject({
    host: "127.0.0.1",
    port: 8000,
    outputFolder: "/tmp/inference_output",
    loraFolder: "/demo/loras",
    dataFolder: "/data/retake",
    timeoutSeconds: 3600,
    devices: ["cpu"],
    keepOpen: true,
    databaseUrl: undefined,
  });
  expect(settings.uploads).toEqual({ place: "/data/retake/uploads", bytes: 50 * 2 ** 30 });
  expect(settings.loraSource.cacheDir).toBe("/tmp/lora_cache");
  const own = parseSettings({ RETAKE_WEIGHTS: "/models" }, "/demo/loras");
  expect(own.loraFolder).toBe("/app/ai-toolkit/lora_weights");
});

test("uploads go beside results in a bucket, unless they have a place of their own", () => {
  const placeOf = (environment: Record<string, string>) =>
    parseSettings({ RETAKE_DATA: "/d", ...environment }, "").uploads.place;
  expect(placeOf({ OUTPUT_BASE_PATH: "s3://b/p/" })).toBe("s3://b/p/uploads");
  expect(placeOf({ OUTPUT_BASE_PATH: "/out" })).toBe("/d/uploads");
  expect(placeOf({ OUTPUT_BASE_PATH: "s3://b", RETAKE_UPLOADS: "/u" })).toBe("/u");
});

test("names are case-insensitive, empty is not set, offloading opens networks one by one", () => {
  const settings = parseSettings(
    { port: "9000", BASE_URL: "https://x.example/api//", HOST: "", enable_cpu_offload: "true" },
    "",
  );
  expect(settings).toMatchObject({
    port: 9000,
    host: "127.0.0.1",
    baseUrl: "https://x.example/api",
    keepOpen: false,
  });
});

test("transformers are files by model; a comma in a path stays", () => {
  const text = "zimage=/a b/x,1.gguf, zimage_turbo=c.safetensors";
  expect(parseSettings({ RETAKE_TRANSFORMERS: text }, "").transformers).toEqual({
    zimage: "/a b/x,1.gguf",
    zimage_turbo: "c.safetensors",
  });
});

test("the cache is the user's unless a folder is named", () => {
  const folder = (environment: Record<string, string>) =>
    parseSettings(environment, "").cacheFolder;
  expect(folder({ XDG_CACHE_HOME: "/cache" })).toBe("/cache/retake");
  expect(folder({ XDG_CACHE_HOME: "/cache", retake_cache: "/own" })).toBe("/own");
  expect(parseSettings({}, "").quantize).toBe("none");
  expect(parseSettings({ RETAKE_QUANTIZE: "int8" }, "").quantize).toBe("int8");
});

test.each([
  [{ RETAKE_QUANTIZE: "int4" }, /RETAKE_QUANTIZE: /],
  [{ PORT: "70000" }, /PORT: /],
  [{ PORT: "-1" }, /PORT: is not a port/],
  [{ OFFLOAD_MODE: "some" }, /OFFLOAD_MODE: /],
  [{ INFERENCE_TIMEOUT: "0" }, /INFERENCE_TIMEOUT: /],
  [{ DATABASE_URL: "mysql://x/y" }, /DATABASE_URL: /],
  [{ RETAKE_SECRET: "short" }, /RETAKE_SECRET: is shorter than 32/],
  [{ RETAKE_MAX_UPLOADS: "50G" }, /RETAKE_MAX_UPLOADS: is not a number of bytes/],
  [{ RETAKE_WEBHOOK_SECRET: "short" }, /RETAKE_WEBHOOK_SECRET: is shorter than 16/],
  [{ RETAKE_ALLOW_ADDRESSES: "10.0.0.0/99" }, /RETAKE_ALLOW_ADDRESSES: /],
  [{ RETAKE_ALLOWED_HOSTS: "https://x.example" }, /RETAKE_ALLOWED_HOSTS.*host name/],
  [{ HF_ENDPOINT: "mirror" }, /HF_ENDPOINT: /],
  [{ RETAKE_TRANSFORMERS: "/a.gguf" }, /RETAKE_TRANSFORMERS: has "\/a.gguf"; write model=file/],
  [{ RETAKE_TRANSFORMERS: "zimage=a,zimage=b" }, /each model once/],
  [{ HF_HUB_OFFLINE: "maybe" }, /HF_HUB_OFFLINE: /],
  [{ RETAKE_AUTO_PULL: "1" }, /RETAKE_AUTO_PULL: needs RETAKE_WEIGHTS/],
  [{ RETAKE_MAX_QUEUE: "5" }, /RETAKE_MAX_QUEUE is no setting/],
])("%o is refused by name", (environment, message) => {
  expect(() => parseSettings(environment, "")).toThrow(message);
});
