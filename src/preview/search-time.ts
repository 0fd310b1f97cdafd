/** In milliseconds: enough for the likely changes where a picture takes a minute. */
const shortestSearch = 30 * 60 * 1000;

/**
 * When the search for causes begins no further picture: at the limit that was asked for; without
 * one it may take as long as the pictures took, and half an hour in any case. All times are of
 * `performance.now()`, in milliseconds.
 */
export function searchEnd(
  startedAt: number,
  now: number,
  limitSeconds: number | undefined,
): number {
  if (limitSeconds !== undefined) return startedAt + limitSeconds * 1000;
  return now + Math.max(shortestSearch, now - startedAt);
}
