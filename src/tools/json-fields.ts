import type { JsonValue } from "../wire/python-json.ts";
import { writeJson } from "../wire/python-json.ts";
import type { OwnWords } from "./settings.ts";
import { isObject, plainNumber, plainText } from "./tool-json.ts";

/** Reads fields out of a tool's JSON, and keeps account of what was not asked for and of what is not as it should be. */
export class JsonFields {
  readonly unread: string[] = [];
  private readonly object: { readonly [key: string]: JsonValue };
  private readonly asked = new Set<string>();

  constructor(object: { readonly [key: string]: JsonValue }) {
    this.object = object;
  }

  /** undefined: not there, or null. */
  value(key: string): JsonValue | undefined {
    this.asked.add(key);
    const value = Object.hasOwn(this.object, key) ? this.object[key] : undefined;
    return value === null ? undefined : value;
  }

  text(key: string): string | null {
    const value = this.value(key);
    if (value === undefined) return null;
    if (typeof value === "string") return value;
    return this.refused(key, "text", value);
  }

  /** Numbers may be written as text. */
  number(key: string): number | null {
    const value = this.value(key);
    if (value === undefined) return null;
    const found = plainNumber(value);
    return Number.isFinite(found) ? found : this.refused(key, "number", value);
  }

  integer(key: string): bigint | null {
    const value = this.value(key);
    if (value === undefined) return null;
    const text = plainText(value) ?? "";
    return /^-?\d{1,20}$/.test(text) ? BigInt(text) : this.refused(key, "whole number", value);
  }

  /** A list, or its items in one text with commas between. */
  list(key: string): readonly JsonValue[] {
    const value = this.value(key);
    if (value === undefined || value === "") return [];
    if (Array.isArray(value)) return value;
    if (typeof value === "string") return value.split(",").map((item) => item.trim());
    this.refused(key, "list", value);
    return [];
  }

  nested(key: string): JsonFields | null {
    const value = this.value(key);
    return isObject(value) ? new JsonFields(value) : null;
  }

  /** What nobody asked for. */
  others(): OwnWords[] {
    return Object.entries(this.object)
      .filter(([key, value]) => !this.asked.has(key) && value !== null)
      .map(([name, value]) => ({ name, value: shown(value) }));
  }

  private refused(key: string, wanted: string, value: JsonValue): null {
    this.unread.push(`"${key}" is no ${wanted}: ${shown(value)}.`);
    return null;
  }
}

function shown(value: JsonValue): string {
  const text = typeof value === "string" ? value : writeJson(value);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
