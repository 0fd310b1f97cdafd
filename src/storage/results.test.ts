import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { ResultFolder } from "./results.ts";

const folder = mkdtempSync(join(tmpdir(), "retake-results-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("a folder that can't be written fails the job with its reason and leaves nothing", async () => {
  const results = await ResultFolder.open(join(folder, "gone"));
  rmSync(join(folder, "gone"), { recursive: true });
  await expect(results.write(`${randomUUID()}_output_0.jpg`, new Uint8Array(3))).rejects.toThrow();
  expect(() => results.fileOf("../secret.jpg")).toThrow(/not the name of a result/);
});
