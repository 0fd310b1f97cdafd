import { parseDecimalText, parseIntegerText } from "./number-text.ts";
import type { JsonValue } from "./python-json.ts";
import type { Shape } from "./shapes.ts";

/** One thing wrong with a body, as pydantic 2 reports it: the reference's clients know this shape. */
export interface FieldError {
  readonly type: string;
  readonly loc: readonly (string | number)[];
  readonly msg: string;
  readonly input: unknown;
  readonly ctx?: Readonly<Record<string, unknown>>;
}

type Loc = readonly (string | number)[];

/**
 * A field's type: what it takes, as pydantic's lax mode does, and its JSON
 * Schema. One table of these is the parser and the documentation; zod has
 * neither these coercions nor these errors.
 */
export interface Field<Value> extends Shape<Value> {
  /** Undefined after an error, which is added to the list. */
  parse(value: JsonValue, loc: Loc, errors: FieldError[]): Value | undefined;
}

interface Bounds {
  readonly ge?: number;
  readonly le?: number;
}

function invalid(
  errors: FieldError[],
  loc: Loc,
  input: JsonValue,
  [type, msg, ctx]: readonly [string, string, FieldError["ctx"]?],
): undefined {
  errors.push({ type, loc, msg, input, ...(ctx === undefined ? {} : { ctx }) });
}

export function text({ maxLength }: { maxLength?: number } = {}): Field<string> {
  return {
    schema: { type: "string", ...(maxLength === undefined ? {} : { maxLength }) },
    parse(value, loc, errors) {
      if (typeof value !== "string")
        return invalid(errors, loc, value, ["string_type", "Input should be a valid string"]);
      if (maxLength !== undefined && value.length > maxLength) {
        const msg = `String should have at most ${maxLength} characters`;
        // The text itself is not sent back: it is as long as the client made it.
        const error = ["string_too_long", msg, { max_length: maxLength }] as const;
        return invalid(errors, loc, `${value.slice(0, 100)}…`, error);
      }
      return value;
    },
  };
}

function withinBounds<Value extends number | bigint>(
  number: Value,
  { ge, le }: Bounds,
  report: (error: readonly [string, string, FieldError["ctx"]]) => undefined,
): Value | undefined {
  // NaN is in no range.
  if (le !== undefined && !(number <= le))
    return report(["less_than_equal", `Input should be less than or equal to ${le}`, { le }]);
  if (ge !== undefined && !(number >= ge))
    return report(["greater_than_equal", `Input should be greater than or equal to ${ge}`, { ge }]);
  return number;
}

/** Rust's i64 ends here, and with it what pydantic makes an integer of. */
const endOfInt64 = 2 ** 63;

export function integer(bounds: Bounds): Field<bigint> {
  return {
    schema: { type: "integer", ...jsonBounds(bounds) },
    parse(value, loc, errors) {
      const report = (error: readonly [string, string, FieldError["ctx"]?]) =>
        invalid(errors, loc, value, error);
      const number = toInteger(value);
      if (typeof number !== "bigint") return report(number);
      return withinBounds(number, bounds, report);
    },
  };
}

const integerTextErrors = {
  int_parsing: "Input should be a valid integer, unable to parse string as an integer",
  int_parsing_size: "Unable to parse input string as an integer, exceeded maximum size",
} as const;

function toInteger(value: JsonValue): bigint | readonly [string, string] {
  if (typeof value === "bigint") return value;
  if (typeof value === "boolean") return value ? 1n : 0n;
  if (typeof value === "string") {
    const parsed = parseIntegerText(value);
    return typeof parsed === "bigint" ? parsed : [parsed, integerTextErrors[parsed]];
  }
  if (typeof value !== "number") return ["int_type", "Input should be a valid integer"];
  if (!Number.isFinite(value)) return ["finite_number", "Input should be a finite number"];
  if (!Number.isInteger(value)) {
    return [
      "int_from_float",
      "Input should be a valid integer, got a number with a fractional part",
    ];
  }
  if (Math.abs(value) >= endOfInt64) {
    return ["int_parsing_size", integerTextErrors.int_parsing_size];
  }
  return BigInt(value);
}

export function decimal(bounds: Bounds): Field<number> {
  return {
    schema: { type: "number", ...jsonBounds(bounds) },
    parse(value, loc, errors) {
      const report = (error: readonly [string, string, FieldError["ctx"]?]) =>
        invalid(errors, loc, value, error);
      const number = toDecimal(value);
      return typeof number === "number" ? withinBounds(number, bounds, report) : report(number);
    },
  };
}

function toDecimal(value: JsonValue): number | readonly [string, string] {
  if (typeof value === "number") return value;
  if (typeof value === "boolean") return value ? 1 : 0;
  if (typeof value === "string") {
    return (
      parseDecimalText(value) ?? [
        "float_parsing",
        "Input should be a valid number, unable to parse string as a number",
      ]
    );
  }
  // Python refuses to make a float of an integer that none can hold.
  const number = typeof value === "bigint" ? Number(value) : Number.NaN;
  return Number.isFinite(number) ? number : ["float_type", "Input should be a valid number"];
}

const yes = new Set(["1", "on", "t", "true", "y", "yes"]);
const no = new Set(["0", "off", "f", "false", "n", "no"]);

export function truth(): Field<boolean> {
  const notParsed = [
    "bool_parsing",
    "Input should be a valid boolean, unable to interpret input",
  ] as const;
  return {
    schema: { type: "boolean" },
    parse(value, loc, errors) {
      if (typeof value === "boolean") return value;
      if (value === 0 || value === 1) return value === 1;
      if (typeof value === "string") {
        const word = value.toLowerCase();
        if (yes.has(word)) return true;
        if (no.has(word)) return false;
        return invalid(errors, loc, value, notParsed);
      }
      return isInt64(value)
        ? invalid(errors, loc, value, notParsed)
        : invalid(errors, loc, value, ["bool_type", "Input should be a valid boolean"]);
    },
  };
}

function isInt64(value: JsonValue): boolean {
  if (typeof value === "bigint") return BigInt.asIntN(64, value) === value;
  return Number.isInteger(value) && Math.abs(Number(value)) < endOfInt64;
}

export function oneOf<const Name extends string>(names: readonly Name[]): Field<Name> {
  const quoted = names.map((name) => `'${name}'`);
  const expected =
    quoted.length === 1 ? quoted[0] : `${quoted.slice(0, -1).join(", ")} or ${quoted.at(-1)}`;
  return {
    schema: { type: "string", enum: names },
    parse(value, loc, errors) {
      const found = names.find((name) => name === value);
      if (found !== undefined) return found;
      const error = ["literal_error", `Input should be ${expected}`, { expected }] as const;
      return invalid(errors, loc, value, error);
    },
  };
}

export function listOf<Item>(
  item: Field<Item>,
  { maxItems }: { maxItems?: number } = {},
): Field<Item[]> {
  return {
    schema: {
      type: "array",
      items: item.schema,
      ...(maxItems === undefined ? {} : { maxItems }),
    },
    parse(value, loc, errors) {
      if (!Array.isArray(value))
        return invalid(errors, loc, value, ["list_type", "Input should be a valid list"]);
      if (maxItems !== undefined && value.length > maxItems) {
        const msg = `List should have at most ${maxItems} items after validation, not ${value.length}`;
        const ctx = { field_type: "List", max_length: maxItems, actual_length: value.length };
        return invalid(errors, loc, null, ["too_long", msg, ctx]);
      }
      const items = value.map((part, i) => item.parse(part, [...loc, i], errors));
      return items.every((part) => part !== undefined) ? items : undefined;
    },
  };
}

export interface Member<Value> extends Field<Value> {
  readonly required: boolean;
}

export function required<Value>(field: Field<Value>): Member<Value> {
  return { ...field, required: true };
}

/** A field that may be left out or null; both are read as null. */
export function optional<Value>(field: Field<Value>): Member<Value | null> {
  return {
    required: false,
    schema: { anyOf: [field.schema, { type: "null" }], default: null },
    parse: (value, loc, errors) => (value === null ? null : field.parse(value, loc, errors)),
  };
}

type Members = Readonly<Record<string, Member<unknown>>>;
export type ObjectOf<Fields extends Members> = {
  -readonly [Name in keyof Fields]: Fields[Name] extends Member<infer Value> ? Value : never;
};

/** Members that aren't in the table are dropped. */
export function objectOf<Fields extends Members>(
  title: string,
  fields: Fields,
): Field<ObjectOf<Fields>> {
  const entries = Object.entries(fields);
  return {
    schema: {
      title,
      type: "object",
      properties: Object.fromEntries(entries.map(([name, { schema }]) => [name, schema])),
      required: entries.filter(([, field]) => field.required).map(([name]) => name),
    },
    parse(value, loc, errors) {
      if (value === null || typeof value !== "object" || Array.isArray(value)) {
        return invalid(errors, loc, value, [
          "model_attributes_type",
          "Input should be a valid dictionary or object to extract fields from",
        ]);
      }
      const before = errors.length;
      const parsed: Record<string, unknown> = {};
      for (const [name, field] of entries) {
        if (Object.hasOwn(value, name)) {
          parsed[name] = field.parse(value[name]!, [...loc, name], errors);
        } else if (field.required) {
          invalid(errors, [...loc, name], value, ["missing", "Field required"]);
        } else parsed[name] = null;
      }
      // Every member was parsed by the field of its own name.
      return errors.length === before ? (parsed as ObjectOf<Fields>) : undefined;
    },
  };
}

function jsonBounds({ ge, le }: Bounds): Record<string, number> {
  return {
    ...(ge === undefined ? {} : { minimum: ge }),
    ...(le === undefined ? {} : { maximum: le }),
  };
}
