import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { z } from "zod";
import { requestsAMinute } from "../config/variables.ts";
import { InputError, messageOf } from "../errors.ts";
import { readTextFile } from "../files/text.ts";
import { notWritable, writeWhole } from "../files/whole.ts";

/** What the file of API keys holds: never a key, only what recognises one. */
const keyFileSchema = z.strictObject({
  keys: z.array(
    z.strictObject({
      name: z.string().regex(/^[\w.-]{1,64}$/, "is not 1 to 64 letters, digits, '.', '_' or '-'"),
      /** Hex. A key has 256 random bits, so a plain hash of it can't be guessed back. */
      sha256: z.string().regex(/^[0-9a-f]{64}$/, "is not a SHA-256 in hex"),
      created: z.iso.datetime(),
      /** Requests per minute; the server's setting if it is left out. */
      rateLimit: z.int().min(requestsAMinute.least).max(requestsAMinute.most).optional(),
    }),
  ),
});
type KeyFile = z.output<typeof keyFileSchema>;

export interface ApiKey {
  readonly name: string;
  readonly rateLimit: number | undefined;
}

const prefix = "rtk_";

/** The keys that a server accepts. */
export class ApiKeys {
  readonly #keys: readonly { readonly digest: Buffer; readonly key: ApiKey }[];

  private constructor({ keys }: KeyFile) {
    this.#keys = keys.map(({ name, sha256, rateLimit }) => ({
      digest: Buffer.from(sha256, "hex"),
      key: { name, rateLimit },
    }));
  }

  /** @throws InputError if the file can't be used or holds no key: a server that lets nobody in, or everybody, is a mistake */
  static async read(file: string): Promise<ApiKeys> {
    const keyFile = readKeyFile(file);
    if (keyFile === undefined || keyFile.keys.length === 0) {
      throw new InputError(
        `${file} holds no API key. Make one with: retake keys add NAME --file ${file}`,
      );
    }
    return new ApiKeys(keyFile);
  }

  /** The key with this secret. Compares with every one, so that time tells nothing. */
  find(secret: string): ApiKey | undefined {
    const digest = digestOf(secret);
    let found: ApiKey | undefined;
    for (const { digest: known, key } of this.#keys)
      if (timingSafeEqual(digest, known)) found = key;
    return found;
  }
}

/**
 * Adds a key to the file, which is made if it isn't there, for its owner only.
 *
 * @returns the secret; it is nowhere else
 * @throws InputError if there is a key of that name
 */
export async function addApiKey(file: string, name: string, rateLimit?: number): Promise<string> {
  const keyFile = readKeyFile(file) ?? { keys: [] };
  if (keyFile.keys.some((key) => key.name === name))
    throw new InputError(`${file} has a key named ${name}. Take another name, or remove that one.`);
  const secret = `${prefix}${randomBytes(32).toString("base64url")}`;
  const added = {
    name,
    sha256: digestOf(secret).toString("hex"),
    created: new Date().toISOString(),
    ...(rateLimit === undefined ? {} : { rateLimit }),
  };
  await writeKeyFile(file, { keys: [...keyFile.keys, added] });
  return secret;
}

/** @throws InputError if there is no key of that name */
export async function removeApiKey(file: string, name: string): Promise<void> {
  const { keys } = readKeyFile(file) ?? { keys: [] };
  const kept = keys.filter((key) => key.name !== name);
  if (kept.length === keys.length) {
    throw new InputError(
      `${file} has no key named ${name}. It has: ${keys.map((key) => key.name).join(", ") || "none"}.`,
    );
  }
  await writeKeyFile(file, { keys: kept });
}

function readKeyFile(file: string): KeyFile | undefined {
  const text = readTextFile(file);
  if (text === undefined) return undefined;
  try {
    return keyFileSchema.parse(JSON.parse(text));
  } catch (error) {
    const what =
      error instanceof z.ZodError
        ? error.issues.map(({ path, message }) => `${path.join(".")} ${message}`).join("; ")
        : messageOf(error);
    throw new InputError(
      `${file} is no file of API keys: ${what}. Make one with: retake keys add NAME --file FILE`,
      { cause: error },
    );
  }
}

/** Whole or not at all: a server may read it at any time. */
async function writeKeyFile(file: string, content: KeyFile): Promise<void> {
  const checked = keyFileSchema.safeParse(content);
  if (!checked.success) {
    throw new InputError(
      checked.error.issues
        .map(({ path, message }) => `${String(path.at(-1))} ${message}`)
        .join("; "),
    );
  }
  const json = Buffer.from(`${JSON.stringify(checked.data, null, 2)}\n`);
  await writeWhole(file, [json], 0o600).catch((error: unknown) => {
    throw notWritable(file, error);
  });
}

function digestOf(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}
