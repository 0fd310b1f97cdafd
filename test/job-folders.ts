import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Answer, Caller } from "./caller.ts";
import { idOf } from "./lora-upload.ts";

/** Job folders as ai-toolkit wrote them, pictures and LoRAs included. */
export const jobFolders: string = fileURLToPath(new URL("previews", import.meta.url));

export interface JobFile {
  readonly path: string;
  readonly content: Buffer;
}

/** What of a job folder is uploaded. */
export function filesOfJob(name: string): JobFile[] {
  const root = join(jobFolders, name);
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name: file, parentPath }) => {
      const path = join(parentPath, file);
      return { path: path.slice(root.length + 1), content: readFileSync(path) };
    });
}

export function manifestOf(files: readonly JobFile[], name = "my job") {
  return {
    name,
    files: files.map(({ path, content }) => ({
      ...{ path, bytes: content.length, sha256: idOf(content) },
    })),
  };
}

/** Sends a file of an uploaded folder. */
export function putFile(
  server: Caller,
  id: string,
  { path, content }: JobFile,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const type = { "content-type": "application/octet-stream" };
  const url = `/v1/previews/uploads/${id}/files/${path}`;
  return server.call("PUT", url, content, { ...type, ...headers });
}

/** Uploads a whole folder. @returns the upload's id */
export async function uploadJob(
  server: Caller,
  files: readonly JobFile[],
  headers: Readonly<Record<string, string>> = {},
): Promise<string> {
  const begun = await server.call("POST", "/v1/previews/uploads", manifestOf(files), headers);
  if (begun.status !== 201) throw new Error(JSON.stringify(begun.body));
  const { id } = begun.body;
  for (const file of files) {
    const { status, body } = await putFile(server, id, file, headers);
    if (status !== 204) throw new Error(JSON.stringify(body));
  }
  return id;
}
