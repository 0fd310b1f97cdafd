import { describe, expect, test } from "vitest";
import type { JsonValue } from "./python-json.ts";
import { writeJson } from "./python-json.ts";
import { parseInferenceRequest } from "./request.ts";

const limits = { loras: 1, prompts: 64, promptCharacters: 20_000, pixelSteps: 4096 * 4096 * 150 };
const secret = "hf_0123456789abcdef";
const body = {
  model: "zimage",
  loras: [{ path: "a.safetensors" }],
  prompts: [{ prompt: "a" }],
  hf_token: secret,
};

describe("a token is never sent back", () => {
  const bodies: readonly (readonly [string, JsonValue])[] = [
    ["no prompts", { ...body, prompts: [] }],
    ["a field missing", { hf_token: secret }],
    ["sent as text", JSON.stringify(body)],
    ["sent as a form", `model=zimage&hf_token=${secret}`],
    ["sent as multipart", `name="hf_token"\r\n\r\n${secret}`],
    ["in a list", [body]],
    ["in a member of its own", { input: body }],
    ["a list of tokens", { ...body, hf_token: [secret] }],
    ["an object as a token", { ...body, hf_token: { value: secret } }],
    ["a token that is too long", { ...body, hf_token: secret.repeat(500) }],
    ["another field's value", { ...body, kv_cache: secret }],
    ["in capitals", { HF_TOKEN: secret }],
    ["deep in another field", { ...body, prompts: { first: { hf_token: "no prefix at all" } } }],
  ];
  test.each(bodies)("%s", (_, sent) => {
    const { errors } = parseInferenceRequest(sent, limits);
    const answer = writeJson(errors);
    expect(answer).toContain("***");
    expect(answer).not.toContain("0123456789abcdef");
    expect(answer).not.toContain("no prefix at all");
  });
});

test("what holds no token is sent back as it was", () => {
  const { errors } = parseInferenceRequest({ ...body, hf_token: 5, model: ["x"] }, limits);
  expect(errors?.map(({ input }) => input)).toEqual([["x"], 5]);
});
