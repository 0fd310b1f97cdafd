/**
 * Puts the trigger word wherever the prompt says `[trigger]`, as the reference
 * server does: case-sensitive, every occurrence, nothing is prepended. Without a
 * word the placeholder stays.
 */
export function applyTrigger(prompt: string, triggerWord: string | undefined): string {
  if (triggerWord === undefined || triggerWord === "") return prompt;
  return prompt.replaceAll("[trigger]", () => triggerWord);
}
