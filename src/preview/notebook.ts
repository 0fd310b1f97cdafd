import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../errors.ts";
import { notWritable } from "../files/whole.ts";
import type { JsonValue } from "../wire/python-json.ts";
import { parsePythonJson, writeJson } from "../wire/python-json.ts";

/**
 * What a run has found out, for the next run of the same job: a finding counts as long as what it was
 * made from is the same.
 */
export interface Notebook extends AsyncDisposable {
  /** @param inputs names all that the finding was made from */
  find(key: string, inputs: string): JsonValue | undefined;
  note(key: string, inputs: string, finding: unknown): Promise<void>;
}

/** Of the notebook, in the report's folder. A line each: where the program is killed, the last one is cut and does not count. */
export const notebookFile = "taken.jsonl";

/**
 * @param folder of the report, which is there
 * @throws InputError if it can't be written
 */
export async function openNotebook(folder: string): Promise<Notebook> {
  const path = join(folder, notebookFile);
  const findings = new Map<string, { readonly inputs: string; readonly finding: JsonValue }>();
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw notWritable(path, error);
  });
  for (const line of text.split("\n")) {
    const found = readLine(line);
    if (found !== undefined) findings.set(found.key, found);
  }
  const handle = await open(path, "a").catch((error: unknown) => {
    throw notWritable(path, error);
  });
  // Behind a line that was cut, the next one would be no line.
  if (text !== "" && !text.endsWith("\n")) await handle.appendFile("\n");
  return {
    find(key, inputs) {
      const found = findings.get(key);
      return found?.inputs === inputs ? found.finding : undefined;
    },
    async note(key, inputs, finding) {
      await handle
        .appendFile(`${writeJson({ key, inputs, finding })}\n`)
        .catch((error: unknown) => {
          throw notWritable(path, new Error(messageOf(error), { cause: error }));
        });
    },
    [Symbol.asyncDispose]: () => handle.close(),
  };
}

function readLine(
  line: string,
): { readonly key: string; readonly inputs: string; readonly finding: JsonValue } | undefined {
  try {
    const value = parsePythonJson(line);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
    const { key, inputs, finding } = value;
    if (typeof key !== "string" || typeof inputs !== "string" || finding === undefined)
      return undefined;
    return { key, inputs, finding };
  } catch {
    // Cut, or nobody's: the picture is drawn again.
    return undefined;
  }
}
