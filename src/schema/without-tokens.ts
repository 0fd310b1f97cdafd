const mask = "***";
const tokenField = "hf_token";
/** The field's name, or what Hugging Face's tokens look like. */
const mentionsToken = /hf_(?:token|\w{8,})/i;

/**
 * What a client sent in a field, fit to be sent back in an error. Whatever
 * stands under `hf_token` is masked at any depth. A text is not taken apart: a
 * body sent with another content type, or JSON inside a string, is masked as a
 * whole when it mentions a token.
 */
export function withoutTokens(name: unknown, value: unknown): unknown {
  if (typeof value === "string") {
    return isTokenField(name) || mentionsToken.test(value) ? mask : value;
  }
  // Numbers and booleans are no tokens, and say what is wrong with the field.
  if (value === null || typeof value !== "object") return value;
  if (isTokenField(name)) return mask;
  if (Array.isArray(value)) return value.map((part, i) => withoutTokens(i, part));
  return Object.fromEntries(
    Object.entries(value).map(([inner, part]) => [inner, withoutTokens(inner, part)]),
  );
}

function isTokenField(name: unknown): boolean {
  return typeof name === "string" && name.toLowerCase() === tokenField;
}
