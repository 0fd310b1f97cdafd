import fc from "fast-check";
import { expect, test } from "vitest";
import { redactText, redactUrl } from "./redact.ts";

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

test("whatever stands around it, a token is masked, and in good time", () => {
  const token = "hf_ZyXwVuTsRqPoNmLkJi";
  fc.assert(
    fc.property(fc.string(), fc.string(), (before, after) => {
      const text = `${before} ${token} ${after} https://h/?${encodeURIComponent(after)}&token=${token}`;
      expect(redactText(text)).not.toContain("ZyXwVuTs");
    }),
  );
  for (const piece of ["token", "a.", "https://a?", "api_key=", "Bearer ", " ", "=", "-_"]) {
    // Time of the processor: a busy machine changes nothing. Quadratic work would take minutes of it.
    const started = process.cpuUsage();
    redactText(piece.repeat(30_000));
    expect(process.cpuUsage(started).user).toBeLessThan(4_000_000);
  }
});
