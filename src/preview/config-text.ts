import { runInNewContext } from "node:vm";
import type { ScalarTag, Tags } from "yaml";
import { parseDocument } from "yaml";
import { InputError, messageOf } from "../errors.ts";

// A job's configuration as Python reads it: YAML 1.1 (PyYAML), or JSON. The file may be a stranger's.

/** The UI's fullest jobs have some kilobytes; ten thousand samples have a megabyte or two. */
export const largestConfig: number = 2 ** 22;

/** A megabyte takes half a second; text that is made to take long could take hours. */
const longestSeconds = 20;

/** What JSON can say; whole numbers beyond 2^53 keep their digits. */
export type ConfigValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | readonly ConfigValue[]
  | { readonly [key: string]: ConfigValue };

/** Far more than the trainer's own files have, with every alias written out. */
const mostValues = 500_000;
const deepest = 100;

/**
 * @param file for the message
 * @param seconds after which it is given up
 * @throws InputError naming the file and what is wrong with it
 */
export function parseConfigText(
  text: string,
  file: string,
  seconds: number = longestSeconds,
): ConfigValue {
  try {
    const parse = () => (/\.jsonc?$/i.test(file) ? parseJson(text) : parseYaml(text));
    return runInNewContext("parse()", { parse }, { timeout: seconds * 1000 });
  } catch (error) {
    throw new InputError(
      `${file} can't be read as a job's configuration: ${whyOf(error, seconds)}. ` +
        "Give the file that the trainer was started with.",
      { cause: error },
    );
  }
}

function whyOf(error: unknown, seconds: number): string {
  const message = messageOf(error);
  // The parser catches the stack's end itself and makes it a fault of the text.
  if (message.includes("call stack")) return "it is nested too deeply";
  return message.includes("timed out") ? `it takes more than ${seconds} seconds` : message;
}

function parseJson(text: string): ConfigValue {
  const exact = (_key: string, value: unknown, context?: { readonly source?: string }) =>
    typeof value === "number" &&
    !Number.isSafeInteger(value) &&
    /^-?\d+$/.test(context?.source ?? "")
      ? BigInt(context!.source!)
      : value;
  return plain(JSON.parse(text, exact));
}

function parseYaml(text: string): ConfigValue {
  const document = parseDocument(text, {
    version: "1.1",
    intAsBigInt: true,
    // PyYAML takes the last of two.
    uniqueKeys: false,
    prettyErrors: false,
    logLevel: "silent",
    customTags: withPythonBooleans,
  });
  const [fault] = document.errors;
  if (fault !== undefined) {
    const line = text.slice(0, fault.pos[0]).split("\n").length;
    throw new Error(`line ${line}: ${fault.message}`);
  }
  return plain(document.toJS({ maxAliasCount: 1000 }));
}

/** To PyYAML `y` and `n` are texts, and it writes them without quotes. */
function withPythonBooleans(tags: Tags): Tags {
  const boolean = (value: boolean, test: RegExp): ScalarTag => ({
    tag: "tag:yaml.org,2002:bool",
    default: true,
    identify: (found) => found === value,
    test,
    resolve: () => value,
  });
  const others = tags.filter(
    (tag) => typeof tag === "string" || tag.tag !== "tag:yaml.org,2002:bool",
  );
  return [
    boolean(true, /^(?:yes|Yes|YES|true|True|TRUE|on|On|ON)$/),
    boolean(false, /^(?:no|No|NO|false|False|FALSE|off|Off|OFF)$/),
    ...others,
  ];
}

/** A copy without aliases. @throws Error for a loop, or more than any configuration has */
function plain(root: unknown): ConfigValue {
  let left = mostValues;
  const above = new Set<unknown>();
  const copy = (value: unknown): ConfigValue => {
    if (--left < 0) throw new Error(`it stands for more than ${mostValues} values`);
    if (typeof value === "bigint") {
      const number = Number(value);
      return Number.isSafeInteger(number) ? number : value;
    }
    if (value === null || ["boolean", "number", "string"].includes(typeof value)) {
      return value as ConfigValue; // one of the types that were just listed
    }
    // A date, bytes: no setting that a preview depends on.
    if (typeof value !== "object" || !isPlain(value)) return String(value);
    if (above.has(value)) throw new Error("an alias in it leads back to itself");
    if (above.size >= deepest) throw new Error("it is nested too deeply");
    above.add(value);
    const copied = Array.isArray(value)
      ? value.map(copy)
      : Object.fromEntries(Object.entries(value).map(([key, item]) => [key, copy(item)]));
    above.delete(value);
    return copied;
  };
  return copy(root);
}

function isPlain(value: object): boolean {
  return Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype;
}
