import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test } from "vitest";
import { convertLora } from "../src/lora/convert.ts";
import { demoRequest } from "./caller.ts";
import { diverged } from "./lora-upload.ts";
import { TestServer } from "./test-server.ts";

const zorple = fileURLToPath(new URL("../demo/loras/zorple.safetensors", import.meta.url));
let folder: string;
let server: TestServer;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "retake-several-"));
  const loras = join(folder, "mine");
  mkdirSync(loras);
  cpSync(zorple, join(loras, "zorple.safetensors"));
  writeFileSync(join(loras, "diverged.safetensors"), diverged());
  await convertLora(zorple, "peft", join(loras, "as-peft"));
  server = await TestServer.start(folder, { RETAKE_MAX_LORAS: "2", WORKFLOWS_BASE_PATH: loras });
});
afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

async function pictureOf(loras: [string, number][]): Promise<Buffer> {
  const body = demoRequest({
    loras: loras.map(([path, network_multiplier]) => ({ path, network_multiplier })),
    output_format: "png",
  });
  const { body: job } = await server.call("POST", "/v1/inference", body);
  const result = await server.ended(job.request_id);
  expect(result).toMatchObject({ status: "succeeded" });
  const [image] = result.outputs.images;
  expect(
    image.effective.loras.map((lora: { network_multiplier: number }) => lora.network_multiplier),
  ).toEqual(loras.map(([, multiplier]) => multiplier));
  return sharp(image.file_path).raw().toBuffer();
}

test("two LoRAs of a request act together; a folder that PEFT saved is one", async () => {
  const whole = await pictureOf([["zorple.safetensors", 1]]);
  const half = await pictureOf([["zorple.safetensors", 0.5]]);
  const sum = await pictureOf([
    ["zorple.safetensors", 0.5],
    ["as-peft", 0.5],
  ]);
  // Half and half are the whole, but for rounding.
  const far = (a: Buffer, b: Buffer) => Math.max(...a.map((value, i) => Math.abs(value - b[i]!)));
  expect(far(sum, whole)).toBeLessThanOrEqual(1);
  expect(far(sum, half)).toBeGreaterThan(20);
});

test("more than the operator allows get the reference's answer", async () => {
  const body = demoRequest({ loras: Array(3).fill({ path: "zorple.safetensors" }) });
  const { status, body: refusal } = await server.call("POST", "/v1/inference", body);
  expect(status).toBe(400);
  expect(refusal.detail.error).toMatchObject({
    code: "SINGLE_LORA_ONLY",
    message: expect.stringMatching(/takes 2 LoRAs a request, and 3 were given/),
  });
});

test("inspect describes a LoRA that can't be used, and says why", async () => {
  const { status, body } = await server.call("GET", "/v1/loras/inspect?path=diverged.safetensors");
  expect(status).toBe(200);
  expect(body.description).toMatchObject({
    format: "ai-toolkit",
    modules: 32,
    unusable: expect.stringMatching(/^the file is damaged: .* is NaN at element/),
  });
});
