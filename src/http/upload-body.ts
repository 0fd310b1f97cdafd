import { rm } from "node:fs/promises";
import type { Readable as ReadableStream } from "node:stream";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Busboy } from "@fastify/busboy";
import type { FastifyRequest } from "fastify";
import { CanceledError, messageOf } from "../errors.ts";
import type { StagedFile } from "../lora-files/stage.ts";
import { stageFile, uploadedLoraCheck } from "../lora-files/stage.ts";
import { ApiError } from "./api-error.ts";
import type { BodyPace } from "./slow-bodies.ts";
import { paced } from "./slow-bodies.ts";

const longest = 200;

/**
 * A name as a client gave it, fit to be shown: a file's last part, one line.
 * It names nothing on this machine.
 *
 * @returns null if nothing is left
 */
export function uploadName(given: string | null): string | null {
  const name = (given ?? "")
    .toWellFormed()
    .split(/[/\\]/)
    .at(-1)!
    .replaceAll(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu, "")
    .trim();
  return /^\.*$/.test(name) ? null : [...name].slice(0, longest).join("");
}

interface UploadLimits {
  /** Of one file. */
  readonly fileBytes: number;
  /** Takes each piece before it is written; throws if there is no room for it. */
  readonly admit: (bytes: number) => void;
  readonly pace: BodyPace;
}

export interface ReceivedUpload {
  readonly staged: StagedFile;
  /** As the client named it, or null. */
  readonly name: string | null;
}

const rawTypes = ["", "application/octet-stream"];
/** A form's other fields are small, and few. */
const formLimits = { fields: 8, fieldSize: 4096, fieldNameSize: 100, parts: 9, headerPairs: 32 };

/**
 * Receives one file, sent as it is or in a form, into the folder. Leaves
 * nothing there if it throws.
 *
 * @throws ApiError, or InputError if it is no safetensors file from its first bytes on
 */
export async function receiveUpload(
  request: FastifyRequest,
  folder: string,
  limits: UploadLimits,
): Promise<ReceivedUpload> {
  requirePlain(request);
  const declared = Number(request.headers["content-length"] ?? 0);
  const [type = ""] = request.sentType.toLowerCase().split(";", 1);
  const admit = bounded(limits);
  if (rawTypes.includes(type.trim())) {
    if (declared > limits.fileBytes) throw tooLarge(limits.fileBytes);
    return { staged: await stageFile(folder, paced(request.raw, limits.pace), admit), name: null };
  }
  if (type.trim() === "multipart/form-data")
    return receiveForm(request, folder, { admit, pace: limits.pace });
  throw unsupported(
    "A LoRA is sent as its bytes with the content type application/octet-stream, or as a file in multipart/form-data.",
  );
}

/** @throws ApiError if the body is not the file as it is */
export function requirePlain({ headers }: FastifyRequest): void {
  if ((headers["content-encoding"] ?? "identity") === "identity") return;
  throw unsupported("The body is compressed. Send the file as it is, without Content-Encoding.");
}

function bounded({ fileBytes, admit }: UploadLimits): (piece: Uint8Array) => void {
  const look = uploadedLoraCheck();
  let received = 0;
  return (piece) => {
    received += piece.length;
    if (received > fileBytes) throw tooLarge(fileBytes);
    admit(piece.length);
    look(piece);
  };
}

/** The one file of a form as browsers send it; a field `name` goes before the file's own. */
async function receiveForm(
  request: FastifyRequest,
  folder: string,
  { admit, pace }: { readonly admit: (piece: Uint8Array) => void; readonly pace: BodyPace },
): Promise<ReceivedUpload> {
  const form = openForm(request);
  const stop = new AbortController();
  let staging: Promise<StagedFile> | undefined;
  let name: string | null = null;
  let fileName: string | null = null;
  let refusal: unknown;
  const refuse = (error: unknown) => {
    refusal ??= error;
    stop.abort();
  };
  const onFile = (_: string, file: ReadableStream, givenName: string) => {
    // It ends with the form, whatever becomes of it.
    file.on("error", () => {});
    if (staging !== undefined) {
      file.resume();
      return refuse(badForm("it holds several files. Send one LoRA at a time"));
    }
    fileName = givenName;
    stop.signal.addEventListener("abort", () => file.destroy(new CanceledError()));
    staging = stageFile(folder, file, admit);
    staging.catch(refuse);
  };
  form.on("file", onFile);
  form.on("field", (field, value) => {
    if (field === "name") name = value;
  });
  for (const limit of ["partsLimit", "filesLimit", "fieldsLimit"] as const)
    form.on(limit, () => refuse(badForm("it has too many parts")));
  let staged: StagedFile | undefined;
  try {
    await pipeline(Readable.from(paced(request.raw, pace)), form, { signal: stop.signal });
    staged = await staging;
  } catch (error) {
    refusal ??= error instanceof ApiError ? error : badForm(messageOf(error));
  }
  stop.abort();
  if (refusal === undefined && staged !== undefined) return { staged, name: name ?? fileName };
  await discard(staging);
  throw refusal ?? badForm("it holds no file");
}

function openForm(request: FastifyRequest): InstanceType<typeof Busboy> {
  try {
    return new Busboy({
      // What the client sent: another content type stands in the headers by now.
      headers: { ...request.headers, "content-type": request.sentType },
      limits: formLimits,
    });
  } catch (error) {
    throw badForm(messageOf(error));
  }
}

/** A file that was received before the form turned out to be refused. */
async function discard(staging: Promise<StagedFile> | undefined): Promise<void> {
  const staged = await staging?.catch(() => undefined);
  if (staged !== undefined) await rm(staged.path, { force: true });
}

function tooLarge(limit: number): ApiError {
  return new ApiError(
    413,
    "LORA_TOO_LARGE",
    `The LoRA has more than ${limit} bytes, the most allowed here. Use a smaller one, or ask the operator to raise RETAKE_MAX_LORA.`,
  );
}

function unsupported(message: string): ApiError {
  return new ApiError(415, "UNSUPPORTED_MEDIA_TYPE", message);
}

function badForm(why: string): ApiError {
  return new ApiError(400, "INVALID_PARAMETER", `The form can't be read: ${why}.`);
}
