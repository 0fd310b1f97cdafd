import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { openResults } from "./open-results.ts";

let folder: string;
let store: ChildProcess;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "retake-s3-"));
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo; // a TCP server's address
  probe.close();
  const bin = join(
    dirname(createRequire(import.meta.url).resolve("s3rver/package.json")),
    "bin",
    "s3rver.js",
  );
  const flags = [
    "--directory",
    folder,
    "--address",
    "127.0.0.1",
    "--port",
    String(port),
    "--silent",
  ];
  store = spawn(process.execPath, [bin, ...flags, "--configure-bucket", "pictures"], {
    stdio: "ignore",
  });
  vi.stubEnv("AWS_ENDPOINT_URL_S3", `http://127.0.0.1:${port}`);
  vi.stubEnv("AWS_REGION", "us-east-1");
  vi.stubEnv("AWS_ACCESS_KEY_ID", "S3RVER");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "S3RVER");
  for (let tries = 0; tries < 100; tries++) {
    const up = await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined);
    if (up !== undefined) return;
    await new Promise((done) => setTimeout(done, 100));
  }
});
afterAll(() => {
  vi.unstubAllEnvs();
  store.kill();
  rmSync(folder, { recursive: true });
});

test("results are kept in a bucket, read back and removed with their request", async () => {
  const results = await openResults("s3://pictures/team/a");
  const id = randomUUID();
  const other = randomUUID();
  await results.write(`${id}_output_0.jpg`, Buffer.from("first"));
  await results.write(`${id}_preview_0_2.jpg`, Buffer.from("small"));
  await results.write(`${other}_output_0.png`, Buffer.from("other"));
  const found = await results.read(`${id}_output_0.jpg`);
  expect(found?.bytes).toBe(5);
  expect(await text(found!.content)).toBe("first");
  expect(await results.read(`${randomUUID()}_output_0.jpg`)).toBeUndefined();
  expect(await results.read("../../etc/passwd")).toBeUndefined();
  await expect(results.write("x.jpg", Buffer.from("x"))).rejects.toThrow(
    /not the name of a result/,
  );
  await results.removeAll(id);
  expect(await results.read(`${id}_preview_0_2.jpg`)).toBeUndefined();
  expect((await results.read(`${other}_output_0.png`))?.bytes).toBe(5);
});

test("a bucket that isn't there is named", async () => {
  await expect(openResults("s3://nothing-here")).rejects.toThrow(
    /bucket nothing-here can't be used/,
  );
});
