/**
 * The first key that an object of a JSON text has twice, at any depth.
 * `JSON.parse` keeps the last one in silence, so a tensor could hide another.
 *
 * @param text JSON that `JSON.parse` accepts
 */
export function findDuplicateKey(text: string): string | undefined {
  const objects: (Set<string> | undefined)[] = [];
  // Strings, with the colon that makes a key of one; brackets; nothing else matters.
  for (const [token, quoted, colon] of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|[{}[\]]/g)) {
    if (token === "{") objects.push(new Set());
    else if (token === "[") objects.push(undefined);
    else if (token === "}" || token === "]") objects.pop();
    else if (quoted !== undefined && colon !== undefined) {
      const key: string = JSON.parse(quoted);
      const keys = objects.at(-1);
      if (keys?.has(key)) return key;
      keys?.add(key);
    }
  }
  return undefined;
}
