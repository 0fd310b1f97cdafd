import { loadOptional } from "../optional-package.ts";
import type { ResultStore } from "./results.ts";
import { ResultFolder } from "./results.ts";

/**
 * Loads what speaks to S3. Its packages take a third of a second: only for those who use them.
 *
 * @throws InputError naming the setting and the command that adds the packages
 */
export function loadS3<Loaded>(setting: string, load: () => Promise<Loaded>): Promise<Loaded> {
  return loadOptional(
    `${setting}: a place that starts with s3://`,
    ["@aws-sdk/client-s3", "@aws-sdk/lib-storage"],
    load,
  );
}

/**
 * Opens the place for results: a folder, or `s3://bucket/prefix` on an
 * S3-compatible store whose address and keys come from the usual AWS_ variables.
 *
 * @throws InputError if it can't be used
 */
export async function openResults(place: string): Promise<ResultStore> {
  if (!place.startsWith("s3://")) return ResultFolder.open(place);
  const { S3Results } = await loadS3("OUTPUT_BASE_PATH", () => import("./s3-results.ts"));
  return S3Results.open(place);
}
