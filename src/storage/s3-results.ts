import { Readable } from "node:stream";
import type { S3Client } from "@aws-sdk/client-s3";
import {
  DeleteObjectsCommand,
  GetObjectCommand,
  ListObjectsCommand,
  NoSuchKey,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import type { Job } from "../job/job.ts";
import type { ResultStore } from "./results.ts";
import { contentTypeOf, isResultName } from "./results.ts";
import type { S3Place } from "./s3-bucket.ts";
import { openS3 } from "./s3-bucket.ts";

/** Results as objects of an S3-compatible store, which all nodes reach. */
export class S3Results implements ResultStore {
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #prefix: string;

  private constructor({ client, bucket, prefix }: S3Place) {
    this.#client = client;
    this.#bucket = bucket;
    this.#prefix = prefix;
  }

  /** @param place `s3://bucket/prefix`. @throws InputError if the bucket can't be reached */
  static async open(place: string): Promise<S3Results> {
    return new S3Results(await openS3(place, "OUTPUT_BASE_PATH"));
  }

  fileOf(name: string): string {
    return `s3://${this.#bucket}/${this.#keyOf(name)}`;
  }

  #keyOf(name: string): string {
    if (!isResultName(name)) throw new RangeError(`${name} is not the name of a result`);
    return this.#prefix + name;
  }

  async write(name: string, bytes: Uint8Array): Promise<void> {
    await this.#client.send(
      new PutObjectCommand({
        Bucket: this.#bucket,
        Key: this.#keyOf(name),
        Body: bytes,
        ContentType: contentTypeOf(name),
      }),
    );
  }

  async read(name: string): ReturnType<ResultStore["read"]> {
    if (!isResultName(name)) return undefined;
    try {
      const { Body, ContentLength } = await this.#client.send(
        new GetObjectCommand({ Bucket: this.#bucket, Key: this.#prefix + name }),
      );
      return Body instanceof Readable && ContentLength !== undefined
        ? { bytes: ContentLength, content: Body }
        : undefined;
    } catch (error) {
      if (error instanceof NoSuchKey) return undefined;
      throw error;
    }
  }

  async removeAll({ id }: Pick<Job, "id">): Promise<void> {
    for (;;) {
      // A page has up to 1,000 objects, and so has a removal. What was listed is gone then, so that
      // the next page is the first again: no token, which the newer ListObjectsV2 is about.
      const listed = await this.#client.send(
        new ListObjectsCommand({ Bucket: this.#bucket, Prefix: `${this.#prefix}${id}_` }),
      );
      const keys = (listed.Contents ?? []).flatMap(({ Key }) =>
        Key === undefined ? [] : [{ Key }],
      );
      if (keys.length === 0) return;
      await this.#client.send(
        new DeleteObjectsCommand({ Bucket: this.#bucket, Delete: { Objects: keys } }),
      );
      if (listed.IsTruncated !== true) return;
    }
  }
}
