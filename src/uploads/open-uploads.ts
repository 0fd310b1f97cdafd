import { join } from "node:path";
import type { Settings } from "../schema/settings.ts";
import { UploadFolder } from "./upload-folder.ts";
import type { UploadStore } from "./upload-store.ts";

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
  // Its library takes a third of a second to load: only for those who use it.
  const { S3Uploads } = await import("./s3-uploads.ts");
  return S3Uploads.open(uploads.place, {
    stagingFolder: join(dataFolder, "uploads"),
    leftoverMilliseconds,
    cache: loraSource,
  });
}
