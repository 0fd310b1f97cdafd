import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { demoRequest } from "./caller.ts";
import { goldenFolder } from "./golden.ts";
import { startRetake } from "./retake-process.ts";
import { TestServer } from "./test-server.ts";
import { hasSwiftShader, swiftShader } from "./vulkan-process.ts";

const hasGpu = ["/dev/dri", "/dev/nvidiactl", "/dev/dxg"].some((path) => existsSync(path));
const noGpu = "this machine shows no GPU";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "retake-auto-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Draws the smallest picture there is. */
function start(env: Readonly<Record<string, string>>, ...args: string[]) {
  const small = ["--width", "64", "--height", "64", "--steps", "1", "--profile", "diffusers"];
  const store = join(goldenFolder, "tiny/store");
  const all = [
    "generate",
    "--model",
    "zimage_turbo",
    "--weights",
    store,
    "--prompt",
    "a cat",
    ...small,
  ];
  return startRetake([...all, "--out", "cat.png", "--json", ...args], { cwd: folder, env });
}

const generate = (...given: Parameters<typeof start>) => start(...given).ended;

const software = { VK_DRIVER_FILES: swiftShader, VK_ICD_FILENAMES: swiftShader };

describe.runIf(process.platform === "linux" && !hasGpu)("on a machine without a GPU", () => {
  test("a picture is drawn on the CPU, and it says why", async () => {
    const { code, stdout, stderr } = await generate({ DEVICE: "auto" });
    expect(stderr).toMatch(new RegExp(`^device cpu: ${noGpu}\n`));
    expect(code).toBe(0);
    const device = { name: "cpu", adapter: null, reason: noGpu };
    expect(JSON.parse(stdout)).toMatchObject({ device });
    const { comments } = await sharp(join(folder, "cat.png")).metadata();
    const text = comments?.find(({ keyword }) => keyword === "parameters")?.text ?? "{}";
    expect(JSON.parse(text)).toMatchObject({ device });
  });

  test("`--device cpu` tries nothing and says nothing", async () => {
    const { code, stdout, stderr } = await generate(software, "--device", "cpu");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(JSON.parse(stdout)).toMatchObject({ device: { name: "cpu", reason: null } });
  });

  test.runIf(hasSwiftShader)(
    "a software adapter draws only if it is named, with a warning",
    async () => {
      const auto = await generate({ DEVICE: "auto", ...software });
      expect(auto.stderr).toMatch(
        /^device cpu: webgpu can't be taken: SwiftShader .* is a software adapter/,
      );
      const named = await generate(software, "--device", "webgpu");
      expect(named.code, named.stderr).toBe(0);
      expect(named.stderr).toMatch(
        /^warning: --device webgpu is SwiftShader .* computes on the CPU/m,
      );
      expect(JSON.parse(named.stdout)).toMatchObject({
        device: { name: "webgpu", adapter: expect.stringContaining("SwiftShader"), reason: null },
      });
    },
  );

  test.runIf(hasSwiftShader)("Ctrl-C ends the wait for a driver that hangs", async () => {
    const [driver, temporary] = [join(folder, "hangs.json"), join(folder, "tmp")];
    execFileSync("mkfifo", [driver]);
    mkdirSync(temporary);
    const hangs = { VK_DRIVER_FILES: driver, VK_ICD_FILENAMES: driver, TMPDIR: temporary };
    for (const device of ["auto", "webgpu"]) {
      const { child, ended } = start(hangs, "--device", device);
      await expect.poll(() => readdirSync(temporary), { timeout: 60_000 }).toHaveLength(1);
      child.kill("SIGINT");
      expect(await ended).toEqual({ code: 130, stdout: "", stderr: "error: canceled\n" });
      expect(readdirSync(temporary)).toEqual([]);
    }
  });

  test("the server says what its workers compute on, and why", async () => {
    const server = await TestServer.start(join(folder, "server"), { DEVICE: "auto" });
    try {
      const device = { name: "cpu", adapter: null, reason: noGpu };
      expect((await server.call("GET", "/v1/models")).body.devices).toEqual([device]);
      expect(server.log).toContain(`"reason":"${noGpu}","msg":"DEVICE=auto"`);
      const { body } = await server.call("POST", "/v1/inference", demoRequest());
      const result = await server.ended(body.request_id);
      expect(result.outputs.images[0].effective).toMatchObject({ device });
    } finally {
      await server.stop();
    }
  });
});
