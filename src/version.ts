import { readFileSync } from "node:fs";
import { z } from "zod";
import { manifestFile } from "./paths.ts";

export const version: string = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(manifestFile, "utf8"))).version;
