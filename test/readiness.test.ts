import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { demoRequest } from "./caller.ts";
import { goldenFolder } from "./golden.ts";
import { TestServer } from "./test-server.ts";

const turbo = "Tongyi-MAI/Z-Image-Turbo";
const store = join(goldenFolder, "tiny/store");
/** One that no installation of this system has. */
const absent = process.platform === "win32" ? "cuda" : "dml";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-readiness-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Starts a server, does the work with it, and stops it. */
async function withServer(
  name: string,
  env: Readonly<Record<string, string>>,
  work: (server: TestServer) => Promise<void>,
): Promise<void> {
  const server = await TestServer.start(join(folder, name), env);
  try {
    await work(server);
  } finally {
    await server.stop();
  }
}

/** What /ready says is in the way; nothing of the machine's folders is in it. */
async function reasons(server: TestServer): Promise<{ code: string; message: string }[]> {
  const { status, body } = await server.call("GET", "/ready");
  if (status === 200) return [];
  expect([status, body.detail.error.code]).toEqual([503, "NOT_READY"]);
  expect(JSON.stringify(body)).not.toContain(folder);
  expect((await server.call("GET", "/health")).status).toBe(200);
  return body.detail.error.details.reasons;
}

test("a server that can serve is ready", () =>
  withServer("whole", {}, async (server) => {
    expect(await server.call("GET", "/ready")).toMatchObject({
      status: 200,
      body: { status: "ready" },
    });
    expect(server.log).not.toContain("not ready");
  }));

test("an empty store: not ready, and a request fails by the server's fault", async () => {
  const weights = join(folder, "empty store");
  mkdirSync(weights);
  const env = { RETAKE_WEIGHTS: weights, WORKFLOWS_BASE_PATH: join(goldenFolder, "tiny") };
  await withServer("empty", env, async (server) => {
    const [reason] = await reasons(server);
    expect(reason).toMatchObject({ code: "MODEL_NOT_AVAILABLE" });
    expect(reason?.message).toContain("zimage_turbo transformer is missing");
    expect(server.log).toMatch(
      /"level":40.*not ready: RETAKE_WEIGHTS: no model can run\..*retake pull/,
    );
    expect(server.log).toContain(weights);
    const loras = [{ path: "lora-mixed-ranks.safetensors" }];
    const { body } = await server.call("POST", "/v1/inference", demoRequest({ loras }));
    const result = await server.ended(body.request_id);
    expect(result).toMatchObject({ status: "failed", error_code: "MODEL_NOT_AVAILABLE" });
    expect(result.error).toMatch(/^The server can't run zimage_turbo: /);
    expect(result.error).not.toContain(folder);
  });
});

test("one whole model is enough; none is needed without workers, or where they are fetched", async () => {
  const weights = join(folder, "one model");
  cpSync(join(store, turbo), join(weights, turbo), { recursive: true });
  const own = { WORKFLOWS_BASE_PATH: folder };
  await withServer("one", { ...own, RETAKE_WEIGHTS: weights }, async (server) => {
    expect(await reasons(server)).toEqual([]);
  });
  const empty = { ...own, RETAKE_WEIGHTS: join(folder, "none") };
  for (const more of [{ DEVICE: "none" }, { RETAKE_AUTO_PULL: "1" }]) {
    await withServer("needless", { ...empty, ...more }, async (server) => {
      expect(await reasons(server)).toEqual([]);
    });
  }
  await withServer(
    "offline",
    { ...empty, RETAKE_AUTO_PULL: "1", HF_HUB_OFFLINE: "1" },
    async (server) => {
      expect(await reasons(server)).toMatchObject([{ code: "MODEL_NOT_AVAILABLE" }]);
    },
  );
});

test("a damaged model, and a transformer that is not there, can't run", async () => {
  const weights = join(folder, "damaged");
  cpSync(join(store, turbo), join(weights, turbo), { recursive: true });
  const env = { RETAKE_WEIGHTS: weights, WORKFLOWS_BASE_PATH: folder };
  const missing = { RETAKE_TRANSFORMERS: `zimage_turbo=${join(folder, "no.gguf")}` };
  await withServer("missing transformer", { ...env, ...missing }, async (server) => {
    expect((await reasons(server))[0]?.message).toContain("zimage_turbo transformer is missing");
  });
  writeFileSync(join(weights, turbo, "vae/config.json"), "{");
  await withServer("damaged vae", env, async (server) => {
    expect((await reasons(server))[0]?.message).toContain("zimage_turbo vae is damaged");
  });
});

test("a missing LoRA folder: not ready, requests get 503, until it is there", async () => {
  const loras = join(folder, "later");
  await withServer("no loras", { WORKFLOWS_BASE_PATH: loras, DEVICE: "none" }, async (server) => {
    expect(await reasons(server)).toMatchObject([{ code: "LORA_FOLDER_NOT_AVAILABLE" }]);
    expect(server.log).toContain(`WORKFLOWS_BASE_PATH: ${loras} can't be used`);
    const inspect = "/v1/loras/inspect?path=zorple.safetensors";
    for (const answer of [
      await server.call("POST", "/v1/inference", demoRequest()),
      await server.call("GET", inspect),
    ]) {
      expect([answer.status, answer.body.detail.error.code]).toEqual([
        503,
        "LORA_FOLDER_NOT_AVAILABLE",
      ]);
      expect(JSON.stringify(answer.body)).not.toContain(folder);
    }
    mkdirSync(join(folder, "made"));
    cpSync(
      join(goldenFolder, "../../demo/loras/zorple.safetensors"),
      join(folder, "made/zorple.safetensors"),
    );
    renameSync(join(folder, "made"), loras);
    expect((await server.call("POST", "/v1/inference", demoRequest())).status).toBe(200);
  });
});

test("a device that can't be opened: not ready, and a request doesn't blame the client", () =>
  withServer("device", { DEVICE: absent }, async (server) => {
    expect(await reasons(server)).toEqual([
      { code: "DEVICE_NOT_AVAILABLE", message: `The device ${absent} can't be used.` },
    ]);
    expect(server.log).toContain(`DEVICE: ${absent} can't be used: is not in this installation`);
    const { body } = await server.call("POST", "/v1/inference", demoRequest());
    const result = await server.ended(body.request_id);
    expect(result).toMatchObject({ status: "failed", error_code: "DEVICE_NOT_AVAILABLE" });
    expect(result.error).not.toContain("--device");
  }));
