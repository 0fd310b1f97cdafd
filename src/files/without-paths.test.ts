import { expect, test } from "vitest";
import { withoutPaths } from "./without-paths.ts";

test.each([
  [
    "ENOENT: no such file or directory, open '/srv/out/.728062f3.tmp'",
    "ENOENT: no such file or directory",
  ],
  [
    "EXDEV: cross-device link not permitted, rename '/a/b c' -> '/d/e'",
    "EXDEV: cross-device link not permitted",
  ],
  ["ENOSPC: no space left on device, write", "ENOSPC: no space left on device, write"],
  ["/srv/x/lora.safetensors: its header is damaged.", "lora.safetensors: its header is damaged."],
  ["can't read '/home/my name/a.gguf'", "can't read 'a.gguf'"],
  [
    "Load model from /models/a.onnx failed:/build/onnxruntime/core/graph.cc:12",
    "Load model from a.onnx failed:graph.cc:12",
  ],
  ["at file:///srv/retake/src/worker/main.ts", "at main.ts"],
  [String.raw`open "C:\Users\ann\a.safetensors"`, `open "a.safetensors"`],
  [String.raw`\\server\share\a.bin is gone`, "a.bin is gone"],
  [
    "fetch https://hub.example/a/b?c=/d and hf:owner/repo/file",
    "fetch https://hub.example/a/b?c=/d and hf:owner/repo/file",
  ],
  ["styles/mine.safetensors, 3 / 4 and/or 5 MB/s", "styles/mine.safetensors, 3 / 4 and/or 5 MB/s"],
])("%s", (message, expected) => {
  expect(withoutPaths(message)).toBe(expected);
});

test("what the client knows by another name is called so, also where that is a path", () => {
  const names = new Map([
    ["/cache/0a1b", "https://hub.example/mine.safetensors"],
    ["/cache", "the cache"],
    ["/srv/loras/x.safetensors", "/app/loras/x.safetensors"],
  ]);
  const message =
    "/cache/0a1b: bad. /cache/full is full. /srv/loras/x.safetensors: bad. /srv/loras/y: bad.";
  expect(withoutPaths(message, names)).toBe(
    "https://hub.example/mine.safetensors: bad. the cache/full is full. /app/loras/x.safetensors: bad. y: bad.",
  );
});
