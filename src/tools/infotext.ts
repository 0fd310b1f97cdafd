/** Parameters in the form that AUTOMATIC1111's web UI gave them and its kin took over. */
export interface Infotext {
  readonly prompt: string;
  readonly negative: string;
  /** Of the last line, in its order. */
  readonly parameters: ReadonlyMap<string, string>;
}

/** `Key: value`; a value that holds a comma, a colon or a line's end is a JSON string, a list is in brackets. */
const parameter = /\s*([A-Za-z][\w \-/]*):\s*("(?:\\.|[^\\"])*"|\[[^\]]{0,2000}\]|[^,]*)(?:,|$)/y;

/** Fewer are part of a prompt (`parse_generation_parameters` in lllyasviel/stable-diffusion-webui-forge dfdcbab6). */
const fewestParameters = 3;

const negativeMark = "Negative prompt:";

/** SD.Next writes what the prompts were before styles and wildcards behind them. */
const templateMark = /^(?:Negative )?[Tt]emplate:/;

/** The text's longest part that is looked through for parameters, in characters. */
const longestLine = 2 ** 16;

/**
 * Takes an infotext apart: lines of the prompt, lines of the negative prompt, one line of parameters.
 *
 * @returns undefined if there are no parameters in it
 */
export function parseInfotext(text: string): Infotext | undefined {
  // stable-diffusion.cpp ends with JSON, which holds commas and colons of its own.
  const [plain = "", json] = splitJson(text.trim());
  const lines = plain.split("\n");
  const parameters = parseParameters(lines.at(-1) ?? "");
  if (parameters.size < fewestParameters || !parameters.has("Steps")) return undefined;
  if (json !== undefined) parameters.set("SDCPP", json);
  const texts = lines.slice(0, -1).map((line) => line.trim());
  const template = texts.findIndex((line) => templateMark.test(line));
  const prompts = template === -1 ? texts : texts.slice(0, template);
  const at = prompts.findIndex((line) => line.startsWith(negativeMark));
  const negative = at === -1 ? [] : prompts.slice(at);
  return {
    prompt: (at === -1 ? prompts : prompts.slice(0, at)).join("\n"),
    negative: negative.join("\n").slice(negativeMark.length).trim(),
    parameters,
  };
}

function splitJson(text: string): [string, string?] {
  const mark = ", SDCPP: {";
  const at = text.lastIndexOf(mark);
  return at === -1 ? [text] : [text.slice(0, at), text.slice(at + mark.length - 1)];
}

function parseParameters(line: string): Map<string, string> {
  const parameters = new Map<string, string>();
  if (line.length > longestLine) return parameters;
  let at = 0;
  while (at < line.length) {
    parameter.lastIndex = at;
    const found = parameter.exec(line);
    if (found === null) {
      // A word without value, as in "Tiling, Version: …".
      const comma = line.indexOf(",", at);
      if (comma === -1) break;
      at = comma + 1;
      continue;
    }
    const [, key, value] = found;
    if (!parameters.has(key!.trim())) parameters.set(key!.trim(), unquote(value!.trim()));
    at = parameter.lastIndex;
  }
  return parameters;
}

function unquote(value: string): string {
  if (!value.startsWith('"')) return value;
  try {
    return String(JSON.parse(value));
  } catch {
    return value;
  }
}

export interface LoraTag {
  readonly name: string;
  readonly strength: number;
}

/**
 * Takes `<lora:name:te:unet>` out of a prompt. The second number is the model's, the first counts for both.
 *
 * @returns the prompt that is encoded: what stood around the tags stays, spaces too
 */
export function takeLoraTags(prompt: string): { prompt: string; loras: LoraTag[] } {
  const loras: LoraTag[] = [];
  const rest = prompt.replace(
    /<(?:lora|lyco):([^:>]{1,500})((?::[^:>]{0,100}){0,8})>/g,
    (_, name, tail) => {
      const parts = String(tail).split(":").slice(1);
      const named = new Map(parts.flatMap((part) => [part.split("=") as [string, string]]));
      const [te, unet] = parts.filter((part) => !part.includes("=")).map(Number);
      const strength = Number(named.get("unet") ?? unet ?? named.get("te") ?? te ?? 1);
      loras.push({ name: String(name), strength });
      return "";
    },
  );
  return { prompt: rest, loras };
}
