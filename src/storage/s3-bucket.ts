import { HeadBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { InputError, messageOf } from "../errors.ts";

/** A part of an S3-compatible store, which all nodes reach. */
export interface S3Place {
  readonly client: S3Client;
  readonly bucket: string;
  /** Empty, or with a slash at its end. */
  readonly prefix: string;
}

/**
 * @param place `s3://bucket/prefix`; address and keys come from the usual AWS_ variables
 * @param setting names the place in errors
 * @throws InputError if the bucket can't be reached
 */
export async function openS3(place: string, setting: string): Promise<S3Place> {
  const { hostname: bucket, pathname } = new URL(place);
  const prefix = pathname.replace(/^\/+|\/+$/g, "");
  const client = new S3Client({
    // Stores other than Amazon's have no host name for each bucket.
    forcePathStyle: true,
    // Those stores don't know the newer checksums either.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
  });
  try {
    await client.send(new HeadBucketCommand({ Bucket: bucket }));
  } catch (error) {
    throw new InputError(
      `${setting}: the bucket ${bucket} can't be used: ${messageOf(error)}. Is it there, and are AWS_REGION, AWS_ENDPOINT_URL_S3 and the keys right?`,
      { cause: error },
    );
  }
  return { client, bucket, prefix: prefix === "" ? "" : `${prefix}/` };
}
