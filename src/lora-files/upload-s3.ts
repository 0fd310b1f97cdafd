import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { resolve } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { DeleteObjectCommand, GetObjectCommand, NoSuchKey } from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { InputError } from "../errors.ts";
import { makeWhole } from "../files/whole.ts";
import type { S3Place } from "../storage/s3-bucket.ts";
import { openS3 } from "../storage/s3-bucket.ts";
import { isWhole, noteWhole, trimCache, withCacheLock } from "./cache.ts";
import type { UploadStore } from "./upload-folder.ts";
import { makeStagingFolder, uploadFileName } from "./upload-folder.ts";

interface S3UploadsOptions {
  readonly stagingFolder: string;
  readonly leftoverMilliseconds: number;
  /** Downloaded LoRAs, which fetched uploads join. */
  readonly cache: { readonly cacheDir: string; readonly cacheBytes: number };
}

/** Uploads as objects of an S3-compatible store; each node fetches those that it runs into its LoRA cache. */
export class S3Uploads implements UploadStore {
  readonly #place: S3Place;
  readonly #options: S3UploadsOptions;

  private constructor(place: S3Place, options: S3UploadsOptions) {
    this.#place = place;
    this.#options = options;
  }

  /** @param place `s3://bucket/prefix`. @throws InputError if bucket or staging folder can't be used */
  static async open(place: string, options: S3UploadsOptions): Promise<S3Uploads> {
    await makeStagingFolder(options.stagingFolder, "RETAKE_DATA", options.leftoverMilliseconds);
    return new S3Uploads(await openS3(place, "RETAKE_UPLOADS"), options);
  }

  get stagingFolder(): string {
    return this.#options.stagingFolder;
  }

  async keep(stagedFile: string, sha256: string): Promise<void> {
    // In parts where it is large; the object appears when the last one is there.
    await new Upload({
      client: this.#place.client,
      params: { ...this.#object(sha256), Body: createReadStream(stagedFile) },
    }).done();
  }

  async localFile(sha256: string, bytes: number, signal: AbortSignal): Promise<string> {
    const { cacheDir, cacheBytes } = this.#options.cache;
    const file = resolve(cacheDir, uploadFileName(sha256));
    const fetched = await withCacheLock(file, signal, async (lockedSignal) => {
      if (await isWhole(file, lockedSignal)) return false;
      await this.#fetch({ sha256, bytes, file }, lockedSignal);
      return true;
    });
    if (fetched) await trimCache(cacheDir, cacheBytes, signal);
    return file;
  }

  async remove(sha256: string): Promise<void> {
    await this.#place.client.send(new DeleteObjectCommand(this.#object(sha256)));
  }

  async #fetch(
    { sha256, bytes, file }: { sha256: string; bytes: number; file: string },
    signal: AbortSignal,
  ): Promise<void> {
    try {
      const hash = createHash("sha256");
      const { Body } = await this.#place.client.send(new GetObjectCommand(this.#object(sha256)), {
        abortSignal: signal,
      });
      if (!(Body instanceof Readable)) throw new Error("the store answers without content");
      let received = 0;
      const hashed = async function* (source: AsyncIterable<Uint8Array>) {
        for await (const piece of source) {
          received += piece.length;
          if (received > bytes) throw damaged(sha256);
          hash.update(piece);
          yield piece;
        }
      };
      await makeWhole(file, async (temporary) => {
        await pipeline(Body, hashed, createWriteStream(temporary, { flush: true }), { signal });
        if (hash.digest("hex") !== sha256) throw damaged(sha256);
      });
      // What it is was found out when it was uploaded.
      await noteWhole(file);
    } catch (error) {
      if (!(error instanceof NoSuchKey)) throw error;
      throw new InputError(
        `the file of the upload ${sha256} is not in the store of uploads any more. Upload it again.`,
        { cause: error },
      );
    }
  }

  #object(sha256: string): { Bucket: string; Key: string } {
    const { bucket, prefix } = this.#place;
    return { Bucket: bucket, Key: prefix + uploadFileName(sha256) };
  }
}

function damaged(sha256: string): InputError {
  return new InputError(
    `the store of uploads gives another content for the upload ${sha256}. Upload it again.`,
  );
}
