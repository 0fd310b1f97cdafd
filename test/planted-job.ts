import { cpSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folders = join(import.meta.dirname, "jobs", "folders");

/** A copy of a job that the trainer wrote, to plant a fault in. */
export function copyJob(name: string): string {
  const root = join(mkdtempSync(join(tmpdir(), "planted-")), name);
  cpSync(join(folders, name), root, { recursive: true });
  return root;
}

/** @throws if there is nothing to replace: a plant that changes nothing proves nothing */
export function editConfig(root: string, from: string | RegExp, to: string): void {
  const path = join(root, "config.yaml");
  const before = readFileSync(path, "utf8");
  const after = before.replace(from, to);
  if (after === before) throw new Error(`config.yaml has no ${String(from)}`);
  writeFileSync(path, after);
}

interface Header {
  __metadata__: Record<string, string>;
}

/** Has every LoRA of the folder say another version of the trainer. */
export function setVersion(root: string, version: string): void {
  for (const path of lorasOf(root)) {
    const { header, body } = parse(path);
    const software = JSON.parse(header.__metadata__.software!);
    header.__metadata__.software = JSON.stringify({ ...software, version });
    write(path, header, body);
  }
}

/** Each of two LoRAs keeps what its header says and gets the other's tensors. */
export function swapTensors(root: string): void {
  const [first, second] = lorasOf(root)
    .slice(0, 2)
    .map((path) => ({ path, ...parse(path) }));
  const swap = (own: typeof first, other: typeof first) =>
    write(own!.path, { ...other!.header, __metadata__: own!.header.__metadata__ }, other!.body);
  swap(first, second);
  swap(second, first);
}

function lorasOf(root: string): string[] {
  const names = readdirSync(root).filter((name) => name.endsWith(".safetensors"));
  return names.toSorted().map((name) => join(root, name));
}

function parse(path: string): { header: Header; body: Buffer } {
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + length)) as Header;
  return { header, body: bytes.subarray(8 + length) };
}

function write(path: string, header: Header, body: Uint8Array): void {
  const json = Buffer.from(JSON.stringify(header));
  const padded = Buffer.concat([json, Buffer.alloc(-json.length & 7, " ")]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  writeFileSync(path, Buffer.concat([length, padded, body]));
}
