import type { Readable } from "node:stream";

/** Where finished pictures go, and come from when somebody asks for them. */
export interface ResultStore {
  /** Keeps a file, whole or not at all. When it returns, the file survives a crash. */
  write(name: string, bytes: Uint8Array): Promise<void>;
  read(name: string): Promise<{ bytes: number; content: Readable } | undefined>;
  /** Removes every file of a request. */
  removeAll(requestId: string): Promise<void>;
}

/** Names are made here, `{request id}_output_0.jpg`: nothing else is read or written. */
const namePattern = /^[0-9a-f-]{36}_(?:output_\d+|preview_\d+_\d+)\.(?:jpg|png|webp)$/;

export function isResultName(name: string): boolean {
  return namePattern.test(name);
}

const contentTypes: Readonly<Record<string, string>> = {
  jpg: "image/jpeg",
  png: "image/png",
  webp: "image/webp",
};

/** By the ending of a result's name. */
export function contentTypeOf(name: string): string | undefined {
  return contentTypes[name.split(".").at(-1)!];
}
