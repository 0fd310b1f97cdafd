/**
 * A folder of a hub cache, a download, a file for ComfyUI: all keep the repository's words.
 *
 * @returns the id of the model whose name it has; of the base model where it says no more
 */
export function idOfName(path: string): string {
  const words = lettersOf(path);
  if (words.includes("deturbo") || words.includes("dedistill")) return "zimage_deturbo";
  return words.includes("turbo") ? "zimage_turbo" : "zimage";
}

/** Whether a name says that it is of the family at all. */
export function isFamilyName(path: string): boolean {
  return lettersOf(path).includes("zimage");
}

function lettersOf(path: string): string {
  return path.toLowerCase().replaceAll(/[^a-z0-9]/g, "");
}
