import { Readable } from "node:stream";
import {
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadBucketCommand,
  ListObjectsV2Command,
  NoSuchKey,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { InputError, messageOf } from "../errors.ts";
import type { ResultStore } from "./result-store.ts";
import { contentTypeOf, isResultName } from "./result-store.ts";

/** Results as objects of an S3-compatible store, which all nodes reach. */
export class S3Results implements ResultStore {
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #prefix: string;

  private constructor(client: S3Client, bucket: string, prefix: string) {
    this.#client = client;
    this.#bucket = bucket;
    this.#prefix = prefix;
  }

  /** @param place `s3://bucket/prefix`. @throws InputError if the bucket can't be reached */
  static async open(place: string): Promise<S3Results> {
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
        `OUTPUT_BASE_PATH: the bucket ${bucket} can't be used: ${messageOf(error)}. Is it there, and are AWS_REGION, AWS_ENDPOINT_URL_S3 and the keys right?`,
        { cause: error },
      );
    }
    return new S3Results(client, bucket, prefix === "" ? "" : `${prefix}/`);
  }

  async write(name: string, bytes: Uint8Array): Promise<void> {
    if (!isResultName(name)) throw new RangeError(`${name} is not the name of a result`);
    await this.#client.send(
      new PutObjectCommand({
        Bucket: this.#bucket,
        Key: this.#prefix + name,
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

  async removeAll(requestId: string): Promise<void> {
    const listed = await this.#client.send(
      new ListObjectsV2Command({ Bucket: this.#bucket, Prefix: `${this.#prefix}${requestId}_` }),
    );
    const keys = (listed.Contents ?? []).flatMap(({ Key }) => (Key === undefined ? [] : [{ Key }]));
    if (keys.length === 0) return;
    // A page has up to 1,000 objects, and so has a removal; a request never has as many.
    await this.#client.send(
      new DeleteObjectsCommand({ Bucket: this.#bucket, Delete: { Objects: keys } }),
    );
  }
}
