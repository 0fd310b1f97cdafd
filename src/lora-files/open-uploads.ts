import { join } from "node:path";
import type { Settings } from "../config/settings.ts";
import { loadS3 } from "../storage/open-results.ts";
import type { UploadStore } from "./upload-folder.ts";
import { UploadFolder } from "./upload-folder.ts";

/**
 * Opens the place for uploads: a folder, or `s3://bucket/prefix`.
 *
 * @param leftoverMilliseconds what is being received since then and did not grow was left by a dead server
 * @throws InputError if it can't be used
 */
export async function openUploads(
  { uploads, dataFolder, loraSource }: Settings,
  leftoverMilliseconds: number,
): Promise<UploadStore> {
  if (!uploads.place.startsWith("s3://"))
    return UploadFolder.open(uploads.place, leftoverMilliseconds);
  const { S3Uploads } = await loadS3("RETAKE_UPLOADS", () => import("./upload-s3.ts"));
  return S3Uploads.open(uploads.place, {
    stagingFolder: join(dataFolder, "uploads"),
    leftoverMilliseconds,
    cache: loraSource,
  });
}
