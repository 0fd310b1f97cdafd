import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deflateSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { addApiKey } from "../src/http/api-keys.ts";
import { demoLoras } from "../src/paths.ts";
import { demoRequest } from "./caller.ts";
import { lora } from "./lora-site.ts";
import { loraId, octets } from "./lora-upload.ts";
import { blankPng, pngChunk, textChunk, withChunks } from "./picture-texts.ts";
import { TestServer } from "./test-server.ts";

let folder: string;
let server: TestServer;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "retake-explain-server-"));
  const loras = join(folder, "own-loras");
  mkdirSync(loras);
  copyFileSync(join(demoLoras, "zorple.safetensors"), join(loras, "zorple.safetensors"));
  writeFileSync(join(loras, "broken.safetensors"), "no LoRA");
  server = await TestServer.start(folder, { WORKFLOWS_BASE_PATH: loras });
}, 60_000);
afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

const png = { "content-type": "image/png" };
const explain = (body: unknown, query = "", headers?: Record<string, string>) =>
  server.call("POST", `/v1/explain${query}`, body, headers);

const infotext = (model: string) =>
  "a cat <lora:zorple:0.5> <lora:other:1>\nSteps: 2, Sampler: Euler, Schedule type: Simple, CFG scale: 4, Shift: 3, " +
  `Seed: 7, Size: 64x64, RNG: CPU, Model: ${model}, Version: neo`;
const picture = async (model: string) =>
  withChunks(await blankPng(), textChunk("parameters", infotext(model)));

test("a request: each prompt in its profile, with the LoRA that it names, and nothing is queued", async () => {
  const { status, body } = await explain(
    demoRequest({
      profile: "preview",
      as_trained: true,
      prompts: [
        { prompt: "[trigger] a circle", trigger_word: "zorple", width: 70, guidance_scale: 3 },
        { prompt: "a square", seed: 9, sample_steps: 5 },
      ],
    }),
  );
  expect(status).toBe(200);
  expect(body.explanations).toMatchObject([
    {
      model: "zimage_turbo",
      profile: { name: "preview-0.10.25", asked: "preview" },
      size: { asked: [70, 1024], width: 64 },
      guidance: { weight: 2, standard_cfg: 3 },
      prompt: { text: "zorple a circle" },
      seed: "42",
      loras: [{ name: "zorple.safetensors", modules: 32, of: 90, problem: null }],
      as_trained: { transformer: "torchao", text_encoder: "quanto" },
    },
    { prompt: { text: "a square" }, seed: "9", steps: { asked: 5, updates: 5 } },
  ]);
  expect(body.explanations[0].prompt.tokens).toBeGreaterThan(3);
  expect((await server.call("GET", "/v1/requests")).body.requests).toEqual([]);
});

test("what a request may not be asked for may not be explained either", async () => {
  expect((await explain(demoRequest({ model: "none" }))).body.detail.error.code).toBe(
    "MODEL_NOT_FOUND",
  );
  expect((await explain(demoRequest({}, { width: "wide" }))).status).toBe(422);
  const missing = await explain(demoRequest({ loras: [{ path: "none.safetensors" }] }));
  expect(missing.body.detail.error.code).toBe("LORA_NOT_FOUND");
  expect((await explain(undefined)).status).toBe(422);
});

test("an upload is looked at, a link is not fetched, a broken file is named as the client named it", async () => {
  await server.call("POST", "/v1/loras", lora, octets);
  const looked = async (path: string) => {
    const { body } = await explain(demoRequest({ loras: [{ path }] }));
    expect(JSON.stringify(body)).not.toContain(folder);
    return body.explanations[0].loras[0];
  };
  expect(await looked(`upload:${loraId}`)).toMatchObject({
    name: `upload:${loraId}`,
    modules: 32,
    problem: null,
  });
  expect((await looked("https://127.0.0.1:1/x.safetensors")).problem).toMatch(
    /a link is not fetched/,
  );
  const withKey = await looked("https://127.0.0.1:1/x.safetensors?token=sesame");
  expect(withKey.name).toBe("https://127.0.0.1:1/x.safetensors");
  expect(JSON.stringify(withKey)).not.toContain("sesame");
  expect((await looked("broken.safetensors")).problem).toMatch(/broken\.safetensors/);
});

test("a picture: LoRAs are found by their names in the server's folder", async () => {
  const { status, body } = await explain(await picture("z_image_turbo"), "", png);
  expect(status).toBe(200);
  expect(body.explanations).toMatchObject([
    {
      source: "a picture of Forge Neo",
      model: "zimage_turbo",
      guidance: { weight: 3 },
      seed: "7",
      loras: [
        { name: "zorple", network_multiplier: 0.5, modules: 32 },
        { name: "other", modules: null, problem: expect.stringContaining("no file of that name") },
      ],
    },
  ]);
});

test("a model that the file doesn't name is asked for, and the query names it", async () => {
  const unknown = await explain(await picture("mine"), "", png);
  expect(unknown).toMatchObject({ status: 400 });
  expect(unknown.body.detail.error.message).toContain("?model=ID");
  const named = await explain(await picture("mine"), "?model=zimage", png);
  expect(named.body.explanations[0].model).toBe("zimage");
  expect((await explain(await picture("mine"), "?model=none", png)).status).toBe(400);
});

test("a job's configuration, by sample", async () => {
  const home = `$${"{HOME}"}`;
  const config =
    "config:\n  name: x\n  process:\n    - type: diffusion_trainer\n      model: { name_or_path: Tongyi-MAI/Z-Image, arch: zimage }\n" +
    `      train: { dtype: float32 }\n      sample: { samples: [{ prompt: one }, { prompt: "${home}" }] }\n`;
  const yaml = { "content-type": "application/yaml" };
  const { body } = await explain(Buffer.from(config), "?sample=1", yaml);
  expect(body.explanations).toMatchObject([
    // This machine's variables are none of a stranger's business.
    { model: "zimage", prompt: { text: home }, size: { width: 512 } },
  ]);
  const none = await explain(Buffer.from(config), "?sample=2", yaml);
  expect(none.body.detail.error.message).toContain("there are 2 samples");
});

test("a picture that unpacks to more than it may is refused, and others are answered meanwhile", async () => {
  const bomb = deflateSync(Buffer.alloc(2 ** 24 - 1, "["));
  const chunks = Array.from({ length: 100 }, (_, i) =>
    pngChunk("zTXt", Buffer.concat([Buffer.from(`prompt${i}\0\0`, "latin1"), bomb])),
  );
  const body = withChunks(await blankPng(), ...chunks);
  const asked = explain(body, "", png);
  expect((await server.call("GET", "/health")).status).toBe(200);
  const { status, body: answer } = await asked;
  expect(status).toBe(400);
  expect(answer.detail.error.message).toContain("no tool that is known");
}, 60_000);

test("with keys nobody explains without one", async () => {
  const keys = join(folder, "keys.json");
  await addApiKey(keys, "one");
  const locked = await TestServer.start(join(folder, "locked"), { RETAKE_API_KEYS: keys });
  try {
    expect((await locked.call("POST", "/v1/explain", demoRequest())).status).toBe(401);
  } finally {
    await locked.stop();
  }
}, 60_000);
