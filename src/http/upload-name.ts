const longest = 200;

/**
 * A name as a client gave it, fit to be shown: a file's last part, one line.
 * It names nothing on this machine.
 *
 * @returns null if nothing is left
 */
export function uploadName(given: string | null): string | null {
  const name = (given ?? "")
    .toWellFormed()
    .split(/[/\\]/)
    .at(-1)!
    .replaceAll(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu, "")
    .trim();
  return /^\.*$/.test(name) ? null : [...name].slice(0, longest).join("");
}
