import { isIP } from "node:net";
import { homedir } from "node:os";
import { resolve } from "node:path";
import { z } from "zod";
import { type DeviceChoice, deviceChoices, devices, noDevice } from "./model-options.ts";

// How the text of an environment variable is read. Each kind says what it takes and what counts
// without it; errors and the documentation's tables repeat these words.

interface VariableText {
  readonly takes: string;
  readonly unset: string;
  /** Never shown. */
  readonly secret?: true;
}

export const variableTexts: z.core.$ZodRegistry<VariableText> = z.registry<VariableText>();

export const flag = z
  .string()
  .toLowerCase()
  .pipe(z.enum(["1", "true", "yes", "on", "0", "false", "no", "off"]))
  .transform((word) => ["1", "true", "yes", "on"].includes(word))
  .default(false)
  .register(variableTexts, { takes: "1, true, yes, on, 0, false, no or off", unset: "no" });

/** Decimal digits only: no sign, fraction, exponent or other base. */
function digits(min: number, max: number) {
  return z
    .string()
    .regex(/^\d{1,16}$/)
    .transform(Number)
    .pipe(z.int().min(min).max(max));
}

export function whole(min: number, max: number, unset: number) {
  return digits(min, max)
    .default(unset)
    .register(variableTexts, {
      takes: `a whole number from ${min} to ${max}`,
      unset: String(unset),
    });
}

/** setTimeout counts milliseconds in 31 bits; beyond them it fires at once. */
const mostTimerSeconds = Math.floor((2 ** 31 - 1) / 1000);

export function seconds(unset: number, most: number = mostTimerSeconds) {
  return digits(1, most)
    .default(unset)
    .register(variableTexts, {
      takes: `whole seconds from 1 to ${most}`,
      unset: String(unset),
    });
}

const gibibyte = 2 ** 30;

/** For files and folders of them. */
export function gibibytes(unset: number) {
  const most = 2 ** 50;
  return digits(1, most)
    .default(unset * gibibyte)
    .register(variableTexts, {
      takes: `whole bytes from 1 to ${most} (1 PiB)`,
      unset: `${unset} GiB`,
    });
}

export function word<const Words extends readonly [string, ...string[]]>(
  words: Words,
  unset: Words[number],
) {
  return z
    .enum(words)
    .default(() => unset as z.core.util.NoUndefined<Words[number]>)
    .register(variableTexts, { takes: words.join(", "), unset });
}

/** One of some words, or nothing: `unset` says what counts then. */
export function wordOrNone<const Words extends readonly [string, ...string[]]>(
  words: Words,
  unset: string,
) {
  return z
    .enum(words)
    .optional()
    .register(variableTexts, { takes: words.join(", "), unset });
}

/** What can be a token of the hub: anything else can't go into a header. */
export const tokenPattern = /^[\x21-\x7e]+$/;

export const token = z.string().trim().regex(tokenPattern).optional().register(variableTexts, {
  takes: "a token: printable characters without spaces",
  unset: "what HF_TOKEN_PATH holds, for models only",
  secret: true,
});

/** Characters that a key is made from. */
export const sealSecret = z
  .string()
  .regex(/^.{32,512}$/s)
  .optional()
  .register(variableTexts, {
    takes: "a text of 32 to 512 characters",
    unset: "one for each process",
    secret: true,
  });

/** Adds why a value is not taken, where what is taken doesn't say it. */
export function refuse(context: z.core.$RefinementCtx<unknown>, message: string): never {
  context.issues.push({ code: "custom", message, input: context.value });
  return z.NEVER;
}

/** `~` is the user's home; a relative path starts at the working directory of the start. */
function readPath(given: string, context: z.core.$RefinementCtx<unknown>): string {
  if (given.includes("\0")) return refuse(context, "it holds a NUL byte");
  if (/^[a-z][a-z\d+.-]+:\/\//i.test(given)) return refuse(context, "it is a URL");
  if (/^~[^/\\]/.test(given))
    return refuse(context, "~ stands for this user's home only: write the whole path");
  return resolve(given.replace(/^~(?=$|[/\\])/, () => homedir()));
}

export function file(unset: string) {
  return z
    .string()
    .transform(readPath)
    .optional()
    .register(variableTexts, { takes: "a path", unset });
}

/** A folder, or one of the words that stand for one. */
export function folderOr(words: readonly string[], unset: string) {
  return z
    .string()
    .transform((given, context) => {
      return words.includes(given) ? given : readPath(given, context);
    })
    .default(unset)
    .register(variableTexts, { takes: ["a path", ...words].join(", "), unset });
}

/** A folder, or a part of a bucket. */
export function place(unset: string) {
  return z
    .string()
    .transform((given, context) => {
      if (/^s3:\/\/[\w.-]+(\/[^?#]*)?$/.test(given)) return given;
      if (given.startsWith("s3:")) return refuse(context, "that is no s3://bucket/prefix");
      return readPath(given, context);
    })
    .optional()
    .register(variableTexts, { takes: "a path, or s3://bucket/prefix", unset });
}

/** Without slashes at its end. */
export function httpUrl(unset: string) {
  return z
    .string()
    .transform((given, context) => {
      const url = URL.parse(given);
      if (url === null || !/^https?:\/\//i.test(given)) return refuse(context, "that is none");
      if (url.username !== "" || url.password !== "")
        return refuse(context, "it holds a user name or a password");
      if (/[?#]/.test(given)) return refuse(context, "it has a query or a fragment");
      return given.replace(/\/+$/, "");
    })
    .optional()
    .register(variableTexts, {
      takes: "an http or https URL without query, fragment and password",
      unset,
    });
}

export const databaseUrl = z
  .url({ protocol: /^postgres(ql)?$/ })
  .optional()
  .register(variableTexts, { takes: "a postgres:// URL", unset: "none", secret: true });

/** Where a server listens. */
export const host = z
  .string()
  .refine((given) => isIP(given) !== 0 || /^[a-z\d]([a-z\d._-]*[a-z\d])?$/i.test(given))
  .default("127.0.0.1")
  .register(variableTexts, {
    takes: "an address or a host name, without port and brackets",
    unset: "127.0.0.1",
  });

/** Items with commas or spaces between them. */
function items<Item>(item: z.ZodType<Item, string>, takes: string) {
  return z
    .string()
    .transform((given) => given.split(/[\s,]+/).filter((part) => part !== ""))
    .pipe(z.array(item))
    .default([])
    .register(variableTexts, { takes, unset: "none" });
}

/** `.example.com` is every name under it. */
const hostName = /^\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*$/;

/** Under which a server is reached. */
export const hostNames = items(
  z.string().superRefine((entry, context) => {
    if (!hostName.test(entry)) refuse(context, `${JSON.stringify(entry)} is none`);
  }),
  "host names in lower case; .example.com is every name under it",
);

/** An address, a CIDR range, a host name, or `.example.com` for every name under it. */
export const allowedHost = z.string().superRefine((entry, context) => {
  const [address = "", prefix, ...rest] = entry.split("/");
  const family = isIP(address);
  const isRange = prefix !== undefined && /^\d{1,3}$/.test(prefix) && rest.length === 0;
  const fits =
    family === 0
      ? hostName.test(entry)
      : prefix === undefined || (isRange && Number(prefix) <= (family === 4 ? 32 : 128));
  if (!fits) refuse(context, `${JSON.stringify(entry)} is none`);
});

export const allowedHosts = items(
  allowedHost,
  "addresses, CIDR ranges such as 10.0.0.0/8 and host names in lower case",
);

/** As browsers send it: no path, no slash at the end, no port that is the scheme's own. */
const origin = z.string().superRefine((entry, context) => {
  if (entry === "*") return;
  const url = URL.parse(entry);
  const isWeb = url !== null && /^https?:$/.test(url.protocol);
  if (isWeb && url.origin === entry) return;
  if (isWeb && url.username === "") refuse(context, `write ${url.origin}`);
  if (!isWeb && /^[a-z][a-z\d+.-]*:\/\/[^/?#@\s]+$/.test(entry)) return;
  refuse(context, `${JSON.stringify(entry)} is none`);
});

export const origins = items(origin, "origins such as https://page.example, or *");

/** `model=file,model=file`. A comma parts two entries only where `name=` follows: a path may hold commas and spaces. */
export const transformerList = z
  .string()
  .transform((given, context) => {
    const files = new Map<string, string>();
    for (const entry of given.split(/,(?=\s*\w+=)/)) {
      const [, model, named] = /^\s*(\w+)=(.*\S)\s*$/.exec(entry) ?? [];
      if (model === undefined || named === undefined)
        return refuse(context, `${JSON.stringify(entry)} is none`);
      if (files.has(model)) return refuse(context, `it has ${model} twice`);
      files.set(model, readPath(named, context));
    }
    return Object.fromEntries(files);
  })
  .default({})
  .register(variableTexts, { takes: "model=file,model=file, each model once", unset: "none" });

/** More worker processes than anybody has devices. */
const mostWorkers = 64;

/** `none` is an empty list: such a server leaves the work to others. `auto` is one worker on the best device. */
export const deviceList = z
  .string()
  .transform((given, context) => {
    if (given.trim() === "none") return [];
    const names = given.split(",").map((name) => name.trim());
    if (names.includes("")) return refuse(context, "one of its names is empty");
    if (names.includes("none")) return refuse(context, "none stands alone");
    if (names.includes("auto") && names.length > 1) return refuse(context, "auto stands alone");
    if (names.length > mostWorkers) return refuse(context, `it has ${names.length}`);
    const chosen: DeviceChoice[] = [];
    for (const name of names) {
      const device = deviceChoices.find((known) => known === name);
      if (device === undefined) return refuse(context, noDevice(name));
      chosen.push(device);
    }
    return chosen;
  })
  .default(["auto"])
  .register(variableTexts, {
    takes: `auto, or up to ${mostWorkers} of ${devices.join(", ")} with commas between them, or none`,
    unset: "auto",
  });
