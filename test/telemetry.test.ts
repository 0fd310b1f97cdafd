import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { startRetake } from "./retake-process.ts";

const home = mkdtempSync(join(tmpdir(), "retake-home-"));
afterAll(() => rmSync(home, { recursive: true }));

test("the runtime keeps no id of the machine, as its telemetry is off", async () => {
  const args = ["generate", "--weights", "demo", "--prompt", "a star", "--out", "star.png"];
  const small = ["--width", "64", "--height", "64", "--steps", "1"];
  const { code, stderr } = await startRetake([...args, ...small], { cwd: home }).ended;
  expect({ code, stderr }).toMatchObject({ code: 0 });
  const files = readdirSync(home, { recursive: true, encoding: "utf8" });
  expect(files.filter((file) => /microsoft|onnxruntime|deviceid/i.test(file))).toEqual([]);
});
