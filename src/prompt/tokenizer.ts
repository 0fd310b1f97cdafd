import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Tokenizer as HubTokenizer } from "@huggingface/tokenizers";
import { InputError, messageOf } from "../errors.ts";

/** Qwen's chat needs these as tokens of their own. */
const chatTokens = ["<|im_start|>", "<|im_end|>"];

export interface Tokenizer {
  /** Special tokens in the text count as such; none are added. */
  encode(text: string): number[];
  decode(ids: readonly number[]): string;
}

/** @throws InputError naming the file that is missing or damaged */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  const vocabulary = await readObject(join(folder, "tokenizer.json"));
  const config = await readObject(join(folder, "tokenizer_config.json"));
  let tokenizer: HubTokenizer;
  try {
    tokenizer = new HubTokenizer(vocabulary, config);
  } catch (error) {
    throw new InputError(
      `${join(folder, "tokenizer.json")} is not a tokenizer: ${messageOf(error)}. Fetch the repository again.`,
      { cause: error },
    );
  }
  const absent = chatTokens.filter((token) => tokenizer.token_to_id(token) === undefined);
  if (absent.length > 0) {
    throw new InputError(
      `${folder} is not a Qwen3 tokenizer: it has no ${absent.join(" and ")}. Fetch the repository again.`,
    );
  }
  return {
    encode: (text) => tokenizer.encode(text, { add_special_tokens: false }).ids,
    // The library refuses to decode nothing.
    decode: (ids) =>
      ids.length === 0 ? "" : tokenizer.decode([...ids], { skip_special_tokens: false }),
  };
}

async function readObject(file: string): Promise<object> {
  try {
    const json: unknown = JSON.parse(await readFile(file, "utf8"));
    if (typeof json === "object" && json !== null) return json;
    throw new Error("it is not an object");
  } catch (error) {
    throw new InputError(
      `${file} can't be read as JSON: ${messageOf(error)}. Fetch the repository again.`,
      { cause: error },
    );
  }
}
