/** JSON Schema 2020-12, as OpenAPI 3.1 takes it. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/**
 * A part of what the API sends: its JSON Schema, and what it is in TypeScript.
 * A table of these is the documentation, and the type that rendering code and
 * clients are checked against.
 */
export interface Shape<Value> {
  readonly schema: JsonSchema;
  /** Never there: it carries the type. */
  readonly holds?: Value;
}

export type Holds<Part> = Part extends Shape<infer Value> ? Value : never;

export const string: Shape<string> = { schema: { type: "string" } };
export const number: Shape<number> = { schema: { type: "number" } };
export const wholeNumber: Shape<number> = { schema: { type: "integer" } };
export const flag: Shape<boolean> = { schema: { type: "boolean" } };
export const anything: Shape<unknown> = { schema: {} };
/** UTC, e.g. `2026-01-31T12:00:00.123000Z`. */
export const time: Shape<string> = { schema: { type: "string", format: "date-time" } };
export const link: Shape<string> = { schema: { type: "string", format: "uri" } };

export function word<const Word extends string>(...words: readonly Word[]): Shape<Word> {
  return { schema: { type: "string", enum: words } };
}

export function orNull<Value>({ schema }: Shape<Value>): Shape<Value | null> {
  return { schema: { anyOf: [schema, { type: "null" }] } };
}

export function arrayOf<Item>({ schema }: Shape<Item>): Shape<readonly Item[]> {
  return { schema: { type: "array", items: schema } };
}

/** Any names, and what stands under each. */
export function mapOf<Value>({ schema }: Shape<Value>): Shape<Readonly<Record<string, Value>>> {
  return { schema: { type: "object", additionalProperties: schema } };
}

type Parts = Readonly<Record<string, Shape<unknown>>>;
type Held<Required extends Parts, Optional extends Parts> = {
  readonly [Name in keyof Required]: Holds<Required[Name]>;
} & { readonly [Name in keyof Optional]?: Holds<Optional[Name]> };

/** @param optional members that may be missing */
export function object<
  const Required extends Parts,
  const Optional extends Parts = Record<never, never>,
>(required: Required, optional?: Optional): Shape<Held<Required, Optional>> {
  const parts = Object.entries<Shape<unknown>>({ ...required, ...optional });
  return {
    schema: {
      type: "object",
      properties: Object.fromEntries(parts.map(([name, { schema }]) => [name, schema])),
      required: Object.keys(required),
    },
  };
}

/** The same part with more in its JSON Schema. */
export function documented<Part extends Shape<unknown>>(part: Part, more: JsonSchema): Part {
  return { ...part, schema: { ...part.schema, ...more } };
}
