import { JsonFields } from "./json-fields.ts";
import type { ToolLora } from "./settings.ts";
import { isObject, plainNumber, plainText } from "./tool-json.ts";

/**
 * The LoRAs of a list of objects; one without name or strength is told as not read.
 *
 * @param read what a tool calls the two
 */
export function lorasIn(
  fields: JsonFields,
  key: string,
  read: (lora: JsonFields) => {
    readonly name: string | null | undefined;
    readonly strength: number | null;
  },
): ToolLora[] {
  return fields.list(key).flatMap((lora): ToolLora[] => {
    const { name, strength } = read(new JsonFields(isObject(lora) ? lora : {}));
    if (name != null && strength !== null) return [{ name, strength }];
    fields.unread.push(`A LoRA in "${key}" has no name or no strength.`);
    return [];
  });
}

/** The LoRAs whose names stand in one list and their strengths in another; 1 where that one is shorter. */
export function lorasInLists(fields: JsonFields, names: string, strengths: string): ToolLora[] {
  const values = fields.list(strengths);
  return fields.list(names).flatMap((value, i): ToolLora[] => {
    const name = plainText(value);
    if (name !== null) return [{ name, strength: plainNumber(values[i] ?? 1) }];
    fields.unread.push(`A LoRA in "${names}" has no name.`);
    return [];
  });
}
