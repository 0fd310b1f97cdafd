import type { Command } from "commander";
import type { CachedFile } from "../weights/cached-files.ts";
import { clearCached, listCached } from "../weights/cached-files.ts";
import { readCacheFolder } from "./settings.ts";

export function addCacheCommand(program: Command): void {
  const cache = program
    .command("cache")
    .description("files that weights were made into; they are made again when they are needed");
  cache
    .command("list", { isDefault: true })
    .description("list them")
    .action(async () => {
      const folder = readCacheFolder();
      const files = await listCached(folder);
      for (const file of files) process.stdout.write(`${lineOf(file)}\n`);
      process.stdout.write(`${total(files)} in ${folder}\n`);
    });
  cache
    .command("clear")
    .description("delete all but what a process is writing")
    .action(async () => {
      const files = await clearCached(readCacheFolder());
      process.stdout.write(`deleted ${total(files)}\n`);
    });
}

function lineOf({ file, bytes, sources, lastUsed }: CachedFile): string {
  return `${file}  ${mebibytes(bytes)}  from ${sources}  used ${lastUsed.toISOString()}`;
}

function total(files: readonly CachedFile[]): string {
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  return `${files.length} files, ${mebibytes(bytes)}`;
}

function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
