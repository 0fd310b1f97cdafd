import { chmodSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { TestServer } from "./test-server.ts";

let own: string;
let shared: string;
beforeEach(() => {
  own = mkdtempSync(join(tmpdir(), "retake-own-"));
  shared = mkdtempSync(join(tmpdir(), "retake-shared-"));
  chmodSync(shared, 0o1777);
});
afterEach(() => {
  for (const folder of [own, shared]) rmSync(folder, { recursive: true });
});

const unlessWindows = test.skipIf(process.platform === "win32");

unlessWindows.each([
  "OUTPUT_BASE_PATH",
  "LORA_DOWNLOAD_CACHE_DIR",
  "RETAKE_UPLOADS",
  "RETAKE_DATA",
])("a server does not start on a link that another user may have made: %s", async (setting) => {
  const folder = join(shared, "theirs");
  symlinkSync(own, folder);
  const environment = { DEVICE: "none", [setting]: folder };
  await expect(TestServer.start(own, environment)).rejects.toThrow(
    `${setting}: ${folder} is a link, and everybody may make entries where it lies. Remove it`,
  );
});

unlessWindows(
  "a cache that was exchanged later is not used, and no client reads where it lies",
  async () => {
    const cache = join(shared, "cache");
    const server = await TestServer.start(own, {
      DEVICE: "none",
      LORA_DOWNLOAD_CACHE_DIR: cache,
    });
    rmSync(cache, { recursive: true });
    symlinkSync(own, cache);
    const path = "/v1/loras/inspect?path=https://example.com/a.safetensors";
    const { status, body } = await server.call("GET", path);
    expect(status).toBe(500);
    expect(JSON.stringify(body)).not.toContain(shared);
    expect(server.log).toMatch(/LORA_DOWNLOAD_CACHE_DIR: .*cache is a link/);
    await server.stop();
  },
);
