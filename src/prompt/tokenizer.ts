import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Tokenizer as HubTokenizer } from "@huggingface/tokenizers";
import { InputError, messageOf } from "../errors.ts";
import { fetchAgain, type Source, unreadableJson } from "../weights/store.ts";

/**
 * Marks, and parts of composed letters, that Unicode got after version 9: spans of
 * code points. Hugging Face's tokenizers 0.23.3 does not know them: to it each stands
 * alone, neither reordered nor composed. Found by asking it about every code point
 * beside marks of a lower and of a higher class, and about every canonical
 * composition of Unicode 17.
 */
const unknownToReference = `
  7fd 897-89f 8ca-8d3 9fe c3c d3b-d3c eba 1715 1abf-1add 1ae0-1aeb 1df6-1dfa a82c 105c9 105d2
  105da 105e4 10d24-10d27 10d69-10d6d 10eab-10eac 10efa-10efb 10efd-10eff 10f46-10f50
  10f82-10f85 11070 1133b 11382-11385 1138b 1138e 11390-11391 113b8 113bb 113c2 113c5
  113c7-113c9 113ce-113d0 1145e 11839-1183a 11930 11935 11938 1193d-1193e 11943 119e0 11a34
  11a47 11a99 11d42 11d44-11d45 11d97 11f41-11f42 1611e-16129 1612f 16d63 16d67-16d6a
  16ff0-16ff1 1e08f 1e130-1e136 1e2ae 1e2ec-1e2ef 1e4ec-1e4ef 1e5ee-1e5ef 1e6e3 1e6e6
  1e6ee-1e6ef 1e6f5`;

const characterClass = unknownToReference.replaceAll(/[0-9a-f]+/g, "\\u{$&}").replaceAll(/\s/g, "");

/** Captures, so that split() keeps what it splits at. */
const unknownRun = new RegExp(`([${characterClass}]+)`, "u");

/** Unicode's NFC as the reference has it, whatever version this Node knows. */
function nfcOfReference(text: string): string {
  return text
    .split(unknownRun)
    .map((part, i) => (i % 2 === 0 ? part.normalize("NFC") : part))
    .join("");
}

/** Qwen's chat needs these as tokens of their own. */
const chatTokens = ["<|im_start|>", "<|im_end|>"];

/** What is used of the library. Its own types get lost: they import each other without extensions. */
interface LibraryTokenizer {
  readonly normalizer: {
    readonly config: { readonly type: string };
    normalize(text: string): string;
  } | null;
  encode(text: string, options: { add_special_tokens: boolean }): { readonly ids: number[] };
  decode(ids: number[], options: { skip_special_tokens: boolean }): string;
  token_to_id(token: string): number | undefined;
}

export interface Tokenizer {
  /** Special tokens in the text count as such; none are added. */
  encode(text: string): number[];
  decode(ids: readonly number[]): string;
}

/** @throws InputError naming the file that is missing or damaged */
export async function loadTokenizer(folder: string, source: Source): Promise<Tokenizer> {
  const vocabulary = await readObject(join(folder, "tokenizer.json"), source);
  const config = await readObject(join(folder, "tokenizer_config.json"), source);
  let tokenizer: LibraryTokenizer;
  try {
    tokenizer = new HubTokenizer(vocabulary, config);
  } catch (error) {
    throw new InputError(
      `${join(folder, "tokenizer.json")} is not a tokenizer: ${messageOf(error)}. ${fetchAgain(source)}`,
      { cause: error },
    );
  }
  const absent = chatTokens.filter((token) => tokenizer.token_to_id(token) === undefined);
  if (absent.length > 0) {
    throw new InputError(
      `${folder} is not a Qwen3 tokenizer: it has no ${absent.join(" and ")}. ${fetchAgain(source)}`,
    );
  }
  // Of the library only NFC differs from the reference. It is called between two special tokens.
  const { normalizer } = tokenizer;
  if (normalizer?.config.type === "NFC") normalizer.normalize = nfcOfReference;
  return {
    encode: (text) => tokenizer.encode(text, { add_special_tokens: false }).ids,
    // The library refuses to decode nothing.
    decode: (ids) =>
      ids.length === 0 ? "" : tokenizer.decode([...ids], { skip_special_tokens: false }),
  };
}

async function readObject(file: string, source: Source): Promise<object> {
  try {
    const json: unknown = JSON.parse(await readFile(file, "utf8"));
    if (typeof json === "object" && json !== null) return json;
    throw new Error("it is not an object");
  } catch (error) {
    throw unreadableJson(file, fetchAgain(source), error);
  }
}
