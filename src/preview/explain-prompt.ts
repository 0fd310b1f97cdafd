import { InputError, listed } from "../errors.ts";
import type { LoraFile } from "../lora/file.ts";
import { encodePrompt } from "../prompt/encode-prompt.ts";
import type { Tokenizer } from "../prompt/tokenizer.ts";
import type { Explanation } from "../wire/explain-answers.ts";
import { parsePromptFlags } from "./prompt-flags.ts";

/** Tokens of a text, where the tokenizer is here. */
export function textFacts(text: string, tokenizer: Tokenizer | null): Explanation["prompt"] {
  if (tokenizer === null) return { text, tokens: null, cut_text: null };
  const { inputIds, cutText } = encodePrompt(tokenizer, text);
  return { text, tokens: inputIds.length, cut_text: cutText };
}

/** What a prompt says and nobody acts on. */
export function promptWarnings(prompt: string, triggerWord: string | undefined): string[] {
  const warnings: string[] = [];
  if (prompt.includes("[trigger]") && triggerWord === undefined)
    warnings.push("The prompt says [trigger], and there is no trigger word: it stays as it is.");
  const [, ...flags] = prompt.split("--");
  if (flags.length > 0) warnings.push(flagWarning(prompt));
  return warnings;
}

/** A LoRA acts by its trigger word, where it was trained with one. */
export function unsaidTrigger(prompt: string, name: string, file: LoraFile | null): string[] {
  const words = file?.info.triggerWords ?? [];
  if (words.length === 0 || words.some((word) => prompt.includes(word))) return [];
  return [`The prompt has none of the trigger words of ${name}: ${listed(words)}.`];
}

/** In a job's sample the trainer takes flags for settings; in a request they are text like any other. */
function flagWarning(prompt: string): string {
  try {
    const { prompt: drawn, ...settings } = parsePromptFlags(prompt);
    const found = Object.entries(settings).map(([name, value]) => `${name} ${value}`);
    return (
      `The prompt holds "--". The trainer would draw ${JSON.stringify(drawn)} alone` +
      `${found.length === 0 ? "" : ` and take ${found.join(", ")}`}; here the whole prompt is encoded.`
    );
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return `The prompt holds "--", and the trainer would stop there: ${error.message}.`;
  }
}
