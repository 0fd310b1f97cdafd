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
  expect(settings.loraSource.cacheDir).toBe("/tmp/lora_cache");
  const own = parseSettings({ RETAKE_WEIGHTS: "/models" }, "/demo/loras");
  expect(own.loraFolder).toBe("/app/ai-toolkit/lora_weights");
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

test.each([
  [{ PORT: "70000" }, /PORT: /],
  [{ PORT: "-1" }, /PORT: is not a port/],
  [{ OFFLOAD_MODE: "some" }, /OFFLOAD_MODE: /],
  [{ INFERENCE_TIMEOUT: "0" }, /INFERENCE_TIMEOUT: /],
  [{ DATABASE_URL: "mysql://x/y" }, /DATABASE_URL: /],
  [{ RETAKE_WEBHOOK_SECRET: "short" }, /RETAKE_WEBHOOK_SECRET: is shorter than 16/],
  [{ RETAKE_ALLOW_ADDRESSES: "10.0.0.0/99" }, /RETAKE_ALLOW_ADDRESSES: /],
  [{ HF_ENDPOINT: "mirror" }, /HF_ENDPOINT: /],
  [{ HF_HUB_OFFLINE: "maybe" }, /HF_HUB_OFFLINE: /],
  [{ RETAKE_AUTO_PULL: "1" }, /RETAKE_AUTO_PULL: needs RETAKE_WEIGHTS/],
  [{ RETAKE_MAX_QUEUE: "5" }, /RETAKE_MAX_QUEUE is no setting/],
])("%o is refused by name", (environment, message) => {
  expect(() => parseSettings(environment, "")).toThrow(message);
});
