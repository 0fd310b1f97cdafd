/** ENOENT and its like name the file in their last words: `ENOENT: no such file or directory, open '/x'`. */
const systemError = /\b(E[A-Z0-9]{2,}: [^,\n]+), \w+ '[^']*'(?: -> '[^']*')?/g;
const root = String.raw`(?:file:\/\/)?(?:[A-Za-z]:[\\/]|\\\\|\/)`;
/** Between quotes a path may hold spaces. */
const quoted = new RegExp(String.raw`(?<=(['"\`]))${root}[^'"\`\n]+(?=\1)`, "g");
/** A link, which stays, or a path that is not the middle of a relative one. */
const bare = new RegExp(
  String.raw`(?!file:)\b[a-z][a-z0-9+.-]+:\/\/[^\s'"]+|(?<![\w/\\.~-])${root}[^\s'"\`,;()<>|]+`,
  "g",
);

/**
 * A message as a client may read it: absolute paths of this machine become
 * names.
 *
 * @param names what is said in place of files and folders that the client knows by another name
 */
export function withoutPaths(
  message: string,
  names: ReadonlyMap<string, string> = new Map(),
): string {
  let text = message.replaceAll(systemError, "$1");
  // Files before the folders that they lie in.
  const longestFirst = [...names].toSorted(([a], [b]) => b.length - a.length);
  for (const [path, name] of longestFirst) text = text.replaceAll(path, name);
  // What the client itself gave is shown as it was given.
  const known = new Set(names.values());
  const nameOf = (path: string) => {
    const isLink = /^(?!file:)[a-z][a-z0-9+.-]+:\/\//.test(path);
    return isLink || known.has(path.replace(/[:.]+$/, "")) ? path : lastPart(path);
  };
  return text.replaceAll(quoted, nameOf).replaceAll(bare, nameOf);
}

function lastPart(path: string): string {
  return path.split(/[\\/]/).findLast((part) => part !== "") ?? "";
}
