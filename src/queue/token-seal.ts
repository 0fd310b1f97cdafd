import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";

const cipher = "aes-256-gcm";
const nonceBytes = 12;
const tagBytes = 16;

/**
 * Hides tokens from everybody but the nodes: what waits in the queue can be
 * read with the secret alone, and for its own request alone.
 */
export class TokenSeal {
  readonly #key: Buffer;

  /** @param secret the same on all nodes; without one this process alone reads what it sealed */
  constructor(secret: string | undefined) {
    const material = secret === undefined ? randomBytes(32) : Buffer.from(secret, "utf8");
    this.#key = Buffer.from(hkdfSync("sha256", material, "", "retake hf_token", 32));
  }

  seal(token: string, requestId: string): string {
    const nonce = randomBytes(nonceBytes);
    const cipherText = createCipheriv(cipher, this.#key, nonce).setAAD(Buffer.from(requestId));
    const parts = [nonce, cipherText.update(token, "utf8"), cipherText.final()];
    return Buffer.concat([...parts, cipherText.getAuthTag()]).toString("base64url");
  }

  /** Undefined if another secret sealed it, or it belongs to another request. */
  open(sealed: string, requestId: string): string | undefined {
    const bytes = Buffer.from(sealed, "base64url");
    if (bytes.length < nonceBytes + tagBytes) return undefined;
    const plain = createDecipheriv(cipher, this.#key, bytes.subarray(0, nonceBytes), {
      authTagLength: tagBytes,
    })
      .setAAD(Buffer.from(requestId))
      .setAuthTag(bytes.subarray(-tagBytes));
    try {
      const token = plain.update(bytes.subarray(nonceBytes, -tagBytes));
      return Buffer.concat([token, plain.final()]).toString("utf8");
    } catch {
      // Node has one message for a wrong key and for changed text.
      return undefined;
    }
  }
}
