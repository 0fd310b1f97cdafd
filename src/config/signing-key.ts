import { z } from "zod";
import { refuse, variableTexts } from "./values.ts";

/** What Standard Webhooks asks of a key, in bytes. */
const signingKeyBytes = { least: 24, most: 64 } as const;
/** A text is used as it is; what can be guessed is refused. */
const signingTextBytes = { least: 16, most: 512 } as const;

/**
 * The key that signs webhooks: base64 after `whsec_`, or a text.
 * https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
export const signingKey = z
  .string()
  .transform((given, context) => {
    const [, base64] = /^whsec_(.*)$/s.exec(given) ?? [];
    const key = Buffer.from(base64 ?? given, base64 === undefined ? "utf8" : "base64");
    if (base64 !== undefined && key.toString("base64") !== base64)
      return refuse(context, "what follows whsec_ is no base64");
    const { least, most } = base64 === undefined ? signingTextBytes : signingKeyBytes;
    if (key.length >= least && key.length <= most) return key;
    return refuse(context, `it has ${key.length} bytes`);
  })
  .optional()
  .register(variableTexts, {
    takes: `whsec_ and base64 of ${signingKeyBytes.least} to ${signingKeyBytes.most} bytes, or a text of ${signingTextBytes.least} to ${signingTextBytes.most} bytes`,
    unset: "none",
    secret: true,
  });
