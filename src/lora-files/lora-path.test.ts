import { expect, test } from "vitest";
import { tokenOrigins } from "../hub/connection.ts";
import { cachedFileOf, cacheName } from "./cache.ts";
import { isLoraLink, parseLoraLink } from "./lora-path.ts";

const hub = "https://huggingface.co";

test.each([
  ["https://h.example/a.safetensors", "https://h.example/a.safetensors"],
  ["HTTPS://H.example/a.safetensors#part", "https://h.example/a.safetensors"],
  [
    "https://civitai.com/api/download/models/12345?token=x",
    "https://civitai.com/api/download/models/12345?token=x",
  ],
  [`${hub}/o/r/blob/main/a/blob/b.safetensors`, `${hub}/o/r/resolve/main/a/blob/b.safetensors`],
  [
    "https://www.huggingface.co/o/r/blob/main/b.safetensors?download=true",
    "https://www.huggingface.co/o/r/resolve/main/b.safetensors?download=true",
  ],
  ["https://hf.co/o/r/blob/main/b.safetensors", "https://hf.co/o/r/blob/main/b.safetensors"],
  ["hf:o/r/b.safetensors", `${hub}/o/r/resolve/main/b.safetensors`],
  [
    "hf:o/r/a b/c#?.safetensors@refs/pr/1",
    `${hub}/o/r/resolve/refs%2Fpr%2F1/a%20b/c%23%3F.safetensors`,
  ],
])("%s", (link, url) => expect(parseLoraLink(link, hub)).toEqual({ kind: "file", url }));

test("a repository, and a mirror of the hub", () => {
  expect(parseLoraLink("hf:o/r@v1.0", hub)).toEqual({
    kind: "repository",
    repository: "o/r",
    revision: "v1.0",
  });
  const mirror = "https://mirror.example/hub/";
  expect(parseLoraLink("hf:o/r/b.safetensors", mirror)).toEqual({
    kind: "file",
    url: "https://mirror.example/hub/o/r/resolve/main/b.safetensors",
  });
  expect(parseLoraLink("https://mirror.example/hub/o/r/blob/main/b.safetensors", mirror)).toEqual({
    kind: "file",
    url: "https://mirror.example/hub/o/r/resolve/main/b.safetensors",
  });
  expect(tokenOrigins(mirror)).toEqual(["https://mirror.example"]);
});

test.each([
  ["https://huggingface.co/o/r/tree/main/folder?secret=1", /main\/folder is a folder's page/],
  ["https://", /not a URL/],
  ["https://h.example/a.ckpt?key=s", /^https:\/\/h.example\/a.ckpt is refused: a .ckpt file/],
  ["https://h.example/a.PT", /its .safetensors version/],
  ["hf:o", /Write hf:owner\/repo/],
  ["hf:o/r/../x.safetensors", /Write hf:/],
  ["hf:../r/x.safetensors", /Write hf:/],
  ["hf:o/r/x.safetensors@../main", /Write hf:/],
  ["hf:o/r/x.safetensors@a@b", /Write hf:/],
  ["hf:o/r/x.bin", /a .bin file can run code/],
  ["hf:o/r/x", /a nameless file/],
])("%s is refused", (link, message) => expect(() => parseLoraLink(link, hub)).toThrow(message));

test.each([
  ["https://a", true],
  ["HTTPS://a", true],
  ["hf:a/b", true],
  ["hf/a.safetensors", false],
  ["https/a.safetensors", false],
  ["", false],
])("%j is a link: %s", (path, expected) => expect(isLoraLink(path)).toBe(expected));

// Hashes by Python's hashlib and hmac.
test.each([
  [
    "https://huggingface.co/ostris/x/resolve/main/my%20lora.safetensors",
    undefined,
    "my_lora_6dc62b5e857fae9e.safetensors",
  ],
  [
    "https://civitai.com/api/download/models/12345?token=abc",
    undefined,
    "12345_9e14ede9eed2ef1a.safetensors",
  ],
  ["https://h.example/", undefined, "lora_aeb3b4e90ed82072.safetensors"],
  ["https://h.example/a.safetensors", "hf_token", "a_977e19fe879de3d8.safetensors"],
])("%s is cached under its name and a hash", (url, token, name) => {
  expect(cacheName(url, token)).toBe(name);
  expect(cachedFileOf(name)).toBe(name);
  expect(cachedFileOf(`${name}.part`)).toBe(name);
});

test.each(["..%2f..%2fetc%2fpasswd", "%00a", "%ff%fe", "...", "a".repeat(5000), "con:x|y"])(
  "the name of a hostile link stays a name: %.30s",
  (last) => {
    expect(cacheName(`https://h.example/${last}`)).toMatch(
      /^\w[\w.-]{0,100}_[0-9a-f]{16}\.safetensors$/,
    );
  },
);

test.each([
  "a.safetensors",
  "a_0123.safetensors",
  "a_0123456789abcdef.safetensors.lock",
  "x_0123456789abcdef.txt",
])("%s is not the cache's", (name) => expect(cachedFileOf(name)).toBeUndefined());
