import { z } from "zod";
import { InputError } from "../errors.ts";
import type { HashKind } from "../files/hash.ts";
import { TransferError } from "../net/errors.ts";
import { redactUrl } from "../net/redact.ts";
import { type SafeRequest, type SafeResponse, safeFetch, statusError } from "../net/safe-fetch.ts";
import { type HubConnection, type HubRepository, hubListUrl, requestTo } from "./connection.ts";
import { hubError } from "./hub-error.ts";

/** One file of a repository. */
export interface HubFile {
  /** Inside the repository, parts joined by slashes; safe to join to a folder. */
  readonly path: string;
  readonly bytes: number;
  /** Names the content: SHA-256 in hexadecimal, or Git's SHA-1 for files that Git itself keeps. */
  readonly hash: string;
  readonly kind: HashKind;
}

export interface FileList {
  /** The commit that the revision is now. */
  readonly commit: string;
  readonly files: readonly HubFile[];
}

/** Which part of a repository is wanted. */
export interface Selection {
  readonly repository: string;
  /** A branch, a tag or a commit. */
  readonly revision: string;
  /** Folders whose weights and configurations are needed: each must be there. */
  readonly folders: readonly string[];
  /** Further files, taken if they are there. */
  readonly files: readonly string[];
}

/** Some 40,000 files with their hashes, in a repository that holds a model. */
const largestList = 10_000_000;
/** Some 50,000 names. Strangers choose the repository, and the list is read on the server's thread. */
const largestNames = 2_000_000;
const headersMs = 30_000;
const listMs = 120_000;

// https://huggingface.co/docs/hub/api#get-apimodelsrepoid-or-apimodelsrepoidrevisionrevision
const listSchema = z.object({
  sha: z.string().regex(/^[0-9a-f]{40}$/),
  siblings: z.array(
    z.object({
      rfilename: z.string(),
      size: z.int().min(0).nullish(),
      blobId: z.string().nullish(),
      lfs: z.object({ sha256: z.string(), size: z.int().min(0) }).nullish(),
    }),
  ),
});
const namesSchema = z.object({ siblings: z.array(z.object({ rfilename: z.string() })) });
type Sibling = z.output<typeof listSchema>["siblings"][number];

/** Weights by the names that diffusers and transformers give them, without variants, and what configures them. */
const neededFile = /^(?:[\w-]+\.safetensors|[\w.-]+\.json|[\w-]+\.txt|[\w-]+\.jinja)$/;

/**
 * What the hub has of a selection, each file with size and hash.
 *
 * @throws InputError if the list can't be used: nothing of it is
 * @throws TransferError if it doesn't come
 */
export async function listFiles(hub: HubConnection, selection: Selection): Promise<FileList> {
  const { repository, revision } = selection;
  const { endpoint } = hub.settings;
  const url = `${hubListUrl({ hubEndpoint: endpoint, repository, revision })}?blobs=true`;
  const limits = { headersMs, idleMs: hub.settings.idleMs, totalMs: listMs, bytes: largestList };
  const list = await fetchList(url, requestTo(hub, limits), listSchema, (response) => {
    const hasToken = hub.token !== undefined;
    return hubError(response, { url, endpoint, repository, revision, hasToken });
  });
  const files = list.siblings
    .filter(({ rfilename }) => isSelected(safePath(rfilename, url), selection))
    .map((sibling) => toFile(sibling, url));
  for (const folder of selection.folders) {
    if (files.some(({ path }) => path.startsWith(`${folder}/`))) continue;
    throw new InputError(
      `${repository} holds no ${folder}/ at ${revision}. Give a revision that does, with --revision.`,
    );
  }
  return { commit: list.sha, files };
}

/** What the hub says of a repository. @param refusal the error for an answer without a list */
async function fetchList<List>(
  url: string,
  request: SafeRequest,
  schema: z.ZodType<List>,
  refusal: (response: SafeResponse) => Error,
): Promise<List> {
  const text = await safeFetch(url, request, async (response) => {
    if (response.status !== 200) throw refusal(response);
    const chunks: Uint8Array[] = [];
    for await (const chunk of response.body) chunks.push(chunk);
    return Buffer.concat(chunks).toString();
  });
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    throw new TransferError(
      `${redactUrl(url)} answers with something else than a hub's list. Check HF_ENDPOINT, and that no login page of the network stands in between.`,
      { transient: false, cause: error },
    );
  }
}

/** The names of a repository's files. */
export async function listNames(hub: HubRepository, request: SafeRequest): Promise<string[]> {
  const url = hubListUrl(hub);
  const limits = { ...request.limits, bytes: largestNames };
  const list = await fetchList(url, { ...request, limits }, namesSchema, (response) =>
    statusError(url, response),
  );
  return list.siblings.map(({ rfilename }) => rfilename);
}

function isSelected(path: string, { folders, files }: Selection): boolean {
  const [folder, name, ...deeper] = path.split("/");
  if (name === undefined) return files.includes(path);
  return deeper.length === 0 && folders.includes(folder ?? "") && neededFile.test(name);
}

/** A name becomes a path on this machine: one that could leave its folder condemns the whole list. */
function safePath(name: string, url: string): string {
  const parts = name.split("/");
  const isSafe = (part: string) =>
    part !== "" && part !== "." && part !== ".." && !/[\\:\p{Cc}]/u.test(part);
  if (parts.every(isSafe)) return name;
  throw new InputError(
    `${redactUrl(url)} lists a file named ${JSON.stringify(name)}, which leads out of its folder. Nothing was fetched: check HF_ENDPOINT.`,
  );
}

function toFile({ rfilename: path, size, blobId, lfs }: Sibling, url: string): HubFile {
  const bytes = lfs?.size ?? size;
  const hash = lfs?.sha256 ?? blobId;
  const kind = lfs ? "sha256" : "git-sha1";
  const isHash = kind === "sha256" ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/;
  if (typeof bytes === "number" && typeof hash === "string" && isHash.test(hash)) {
    return { path, bytes, hash, kind };
  }
  throw new InputError(
    `${redactUrl(url)} gives no size and hash of ${JSON.stringify(path)}, so it could not be checked. Use another mirror (HF_ENDPOINT).`,
  );
}
