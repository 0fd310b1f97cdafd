/**
 * The first key that an object of a JSON text has twice, at any depth.
 * `JSON.parse` keeps the last one in silence, so a tensor could hide another.
 * One pass without a regular expression: those overflow the stack on a string
 * of some 10 MB, and a training's tags can make one.
 *
 * @param text JSON that `JSON.parse` accepts
 */
export function findDuplicateKey(text: string): string | undefined {
  const objects: (Set<string> | undefined)[] = [];
  for (let at = 0; at < text.length; at++) {
    const token = text[at];
    if (token === "{") objects.push(new Set());
    else if (token === "[") objects.push(undefined);
    else if (token === "}" || token === "]") objects.pop();
    else if (token === '"') {
      const start = at;
      at = endOfString(text, start);
      if (!isKey(text, at + 1)) continue;
      const key: string = JSON.parse(text.slice(start, at + 1));
      const keys = objects.at(-1);
      if (keys?.has(key)) return key;
      keys?.add(key);
    }
  }
  return undefined;
}

/** Index of the quote that closes the string which opens at `start`. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at;
}

/** Whether a colon follows a string that ends before `at`: outside of strings only keys have one. */
function isKey(text: string, at: number): boolean {
  let next = at;
  while (" \t\r\n".includes(text[next] ?? "x")) next++;
  return text[next] === ":";
}
