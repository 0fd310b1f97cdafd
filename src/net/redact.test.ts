import fc from "fast-check";
import { expect, test } from "vitest";
import { redact, redactText, redactUrl } from "./redact.ts";

test.each([
  ["token hf_AbCdEfGhIjKlMnOpQr used", "token hf_*** used"],
  ["Authorization: Bearer abc.def-123", "Authorization: Bearer ***"],
  ["authorization: Basic dXNlcjpwYXNz", "authorization: Basic ***"],
  ["api_key=0123456789abcdef&x=1", "api_key=***&x=1"],
  ['{"hf_token": "anything at all"}', '{"hf_token": ***}'],
  ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_***"],
  ["https://user:pa55@host/a?x=1", "https://***@host/a?x=1"],
  ["see https://host/a?token=s3cret&x=1.", "see https://host/a?token=***&x=1."],
  [
    "https://host/?X-Amz-Signature=abcdef&X-Amz-Date=1",
    "https://host/?X-Amz-Signature=***&X-Amz-Date=1",
  ],
  ["https://host/a%20b?max_tokens=5", "https://host/a%20b?max_tokens=5"],
  ["nothing hidden: a red circle, seed=42", "nothing hidden: a red circle, seed=42"],
])("%s", (text, shown) => expect(redactText(text)).toBe(shown));

test("a URL is shown without what may hold a secret", () => {
  expect(redactUrl("https://user:pw@host:8443/a/b?token=x#y")).toBe("https://host:8443/a/b");
  expect(redactUrl("https://host/hf_AbCdEfGhIjKl/b")).toBe("https://host/hf_***/b");
  expect(redactUrl(`https://host/${"a".repeat(500)}`)).toHaveLength(300);
  expect(redactUrl("not a url")).toBe("(not a URL)");
});

test("objects: by the name of the field, deep, in errors, round in circles", () => {
  const error = new Error("no access with hf_AbCdEfGhIjKl", { cause: "Bearer abcdef" });
  const value: Record<string, unknown> = {
    hf_token: "x",
    hfToken: "x",
    headers: { Cookie: "x", "X-Api-Key": "x", accept: "x" },
    list: [{ password: 1 }, null, 3n],
    map: new Map([["secret", "x"]]),
    key: "loras/a.safetensors",
    sampleToken: null,
    bytes: new Uint8Array(3),
    error,
  };
  value.self = value;
  expect(redact(value)).toEqual({
    hf_token: "***",
    hfToken: "***",
    headers: { Cookie: "***", "X-Api-Key": "***", accept: "x" },
    list: [{ password: "***" }, null, 3n],
    map: { secret: "***" },
    key: "loras/a.safetensors",
    sampleToken: null,
    bytes: "[3 bytes]",
    error: {
      name: "Error",
      message: "no access with hf_***",
      stack: expect.not.stringContaining("AbCdEf"),
      cause: "Bearer ***",
    },
    self: "[circular]",
  });
});

test("whatever stands around it, a token is masked, and in good time", () => {
  const token = "hf_ZyXwVuTsRqPoNmLkJi";
  fc.assert(
    fc.property(fc.string(), fc.string(), (before, after) => {
      const text = `${before} ${token} ${after} https://h/?${encodeURIComponent(after)}&token=${token}`;
      expect(JSON.stringify(redact({ text, [text]: [text] }))).not.toContain("ZyXwVuTs");
    }),
  );
  for (const piece of ["token", "a.", "https://a?", "api_key=", "Bearer ", " ", "=", "-_"]) {
    const started = performance.now();
    redactText(piece.repeat(30_000));
    expect(performance.now() - started).toBeLessThan(2000);
  }
});
