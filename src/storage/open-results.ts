import { loadS3 } from "./load-s3.ts";
import type { ResultStore } from "./results.ts";
import { ResultFolder } from "./results.ts";

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
