import type { Tokenizer } from "./tokenizer.ts";

/**
 * Puts the trigger word wherever the prompt says `[trigger]`, as the reference
 * server does: case-sensitive, every occurrence, nothing is prepended. Without a
 * word the placeholder stays.
 */
export function applyTrigger(prompt: string, triggerWord: string | undefined): string {
  if (triggerWord === undefined || triggerWord === "") return prompt;
  return prompt.replaceAll("[trigger]", () => triggerWord);
}

/** `max_sequence_length` of diffusers' ZImagePipeline. */
const mostTokens = 512;

export interface EncodedPrompt {
  /** At most 512 ids, no padding. */
  readonly inputIds: readonly number[];
  /** What did not fit, or null. */
  readonly cutText: string | null;
}

/**
 * A prompt's token ids as ZImagePipeline has them: one user turn of Qwen3's chat
 * template with thinking on, the text as it is; the first 512 tokens are kept, so
 * a long prompt loses the end of its turn too.
 */
export function encodePrompt(tokenizer: Tokenizer, prompt: string): EncodedPrompt {
  const opening = `<|im_start|>user\n${prompt}`;
  const ids = tokenizer.encode(`${opening}<|im_end|>\n<|im_start|>assistant\n`);
  if (ids.length <= mostTokens) return { inputIds: ids, cutText: null };
  const kept = ids.slice(0, mostTokens);
  // The turn's own ending is not what the user wrote.
  const written = tokenizer.encode(opening).slice(mostTokens);
  const cutText = written.length === 0 ? null : tokenizer.decode(written);
  return { inputIds: kept, cutText };
}

/** @param what the text is: "prompt" or "negative prompt" */
export function cutWarning(what: string, cutText: string | null): string[] {
  if (cutText === null) return [];
  return [
    `the ${what} is longer than 512 tokens: its end was cut off, as in training: ${JSON.stringify(cutText)}`,
  ];
}
