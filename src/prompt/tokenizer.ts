import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Tokenizer as HubTokenizer } from "@huggingface/tokenizers";
import { InputError, messageOf } from "../errors.ts";
import { fetchAgain, type Source, unreadableJson } from "../weights/store.ts";
import { nfcOfReference } from "./nfc.ts";

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
