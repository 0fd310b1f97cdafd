import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findLocalLora } from "./local.ts";

const folder = mkdtempSync(join(tmpdir(), "retake-local-lora-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe("LoRA paths stay in their folder", () => {
  beforeAll(() => {
    mkdirSync(join(folder, "loras", "sub"), { recursive: true });
    writeFileSync(join(folder, "loras", "sub", "a.safetensors"), "x");
    writeFileSync(join(folder, "outside.safetensors"), "x");
    symlinkSync(join(folder, "outside.safetensors"), join(folder, "loras", "link.safetensors"));
    symlinkSync("sub/a.safetensors", join(folder, "loras", "inner.safetensors"));
  });

  test.each(["sub/a.safetensors", "./sub//a.safetensors", "inner.safetensors"])(
    "%s",
    async (path) => {
      const file = await findLocalLora(join(folder, "loras"), path);
      expect(file.endsWith("/loras/sub/a.safetensors")).toBe(true);
    },
  );

  test.each([
    "../outside.safetensors",
    "sub/../../outside.safetensors",
    "..\\outside.safetensors",
    "/etc/passwd",
    "link.safetensors",
    "sub",
    ".",
    "",
    "a\0b",
    "none.safetensors",
    "%2e%2e/outside.safetensors",
  ])("%s is refused", async (path) => {
    await expect(findLocalLora(join(folder, "loras"), path)).rejects.toThrow(
      /^The LoRA ".*" can't be used: /,
    );
  });
});
