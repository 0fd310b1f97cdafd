import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { HubSite } from "./hub-site.ts";
import { half, lora, sendFile, site } from "./lora-site.ts";
import { profileLine, startRetake } from "./retake-process.ts";

const demoLora = fileURLToPath(new URL("../demo/loras/zorple.safetensors", import.meta.url));
const token = "hf_TokenOfTheCommandLine";

let hub: HubSite;
beforeAll(async () => {
  hub = await HubSite.start([token]);
});
afterAll(() => hub.stop());

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-cli-links-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const start = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  startRetake(args, {
    cwd: folder,
    env: { LORA_DOWNLOAD_CACHE_DIR: join(folder, "cache"), ...hub.environment, ...env },
  });

const retake = (args: readonly string[], env?: Record<string, string>) => start(args, env).ended;

function generateArgs(source: string): string[] {
  const small = ["--width", "64", "--height", "64", "--steps", "2", "--seed", "7", "--json"];
  return ["generate", "--prompt", "a fox", ...small, "--out", "a.png", "--lora", source];
}

test("a link's LoRA is described and drawn with as the file is, and fetched once", async () => {
  const { url, requests } = await site((request, response) => sendFile(request, response));
  const described = await retake(["lora", `${url}/zorple.safetensors`, "--json"]);
  expect({ code: described.code, stderr: described.stderr }).toEqual({ code: 0, stderr: "" });
  const local = await retake(["lora", demoLora, "--json"]);
  const { file: _, ...facts } = JSON.parse(local.stdout);
  expect(JSON.parse(described.stdout)).toMatchObject(facts);

  const byLink = await retake(generateArgs(`${url}/zorple.safetensors=0.5`));
  expect(byLink).toMatchObject({ code: 0, stderr: expect.stringMatching(profileLine) });
  const byFile = await retake(generateArgs(`${demoLora}=0.5`));
  const { seconds: __, ...picture } = JSON.parse(byLink.stdout);
  expect(JSON.parse(byFile.stdout)).toMatchObject(picture);
  expect(picture.loras[0].network_multiplier).toBe(0.5);
  expect(requests).toHaveLength(1);
});

test("HF_TOKEN opens a gated one; without it the message says what is needed", async () => {
  const gated = "hf:o/gated/gated.safetensors";
  const without = await retake(["lora", gated]);
  expect(without.code).toBe(2);
  expect(without.stderr).toMatch(/needs a login .* HF_TOKEN/);
  const { code, stdout, stderr } = await retake(["lora", gated], { HF_TOKEN: token });
  expect(code).toBe(0);
  expect(stdout + stderr).not.toContain(token);
});

test("what can't be fetched is said without a stack, and leaves no picture", async () => {
  const { url } = await site((_, response) => response.writeHead(410).end());
  const failed = await retake(generateArgs(`${url}/a.safetensors?token=s3cret`));
  expect(failed.code).toBe(1);
  expect(failed.stderr).toMatch(/^error: http:\S+\/a\.safetensors answered with HTTP status 410/);
  expect(failed.stderr).not.toMatch(/s3cret| {4}at /);
  const inside = await retake(generateArgs(`${url}/a.safetensors`), { RETAKE_ALLOW_ADDRESSES: "" });
  expect(inside.code).toBe(2);
  expect(inside.stderr).toMatch(/not on the public internet/);
  expect(existsSync(join(folder, "a.png"))).toBe(false);
}, 60_000);

test("Ctrl-C ends a download; the next one goes on with it", async () => {
  const { url, requests } = await site((request, response, count) => {
    if (count > 1) return sendFile(request, response);
    response.writeHead(200, { etag: '"v1"', "content-length": lora.length });
    response.write(lora.subarray(0, half));
  });
  const { child, ended } = start(["lora", `${url}/a.safetensors`]);
  const cache = join(folder, "cache");
  const received = () =>
    (existsSync(cache) ? readdirSync(cache) : [])
      .filter((name) => name.endsWith(".part"))
      .map((name) => statSync(join(cache, name)).size);
  await expect.poll(received, { timeout: 60_000 }).toEqual([half]);
  child.kill("SIGINT");
  expect(await ended).toEqual({ code: 130, stdout: "", stderr: "error: canceled\n" });
  expect((await retake(["lora", `${url}/a.safetensors`])).code).toBe(0);
  expect(requests[1]!.headers.range).toBe(`bytes=${half}-`);
});
