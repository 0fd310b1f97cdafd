import { InputError } from "../errors.ts";
import { pythonFloat, pythonInt, strip } from "./python-text.ts";

/** What a prompt's flags set; a field that no flag names is absent. */
export interface PromptFlags {
  /** What is drawn: the text before the first `--`. */
  readonly prompt: string;
  readonly negativePrompt?: string;
  readonly width?: bigint;
  readonly height?: bigint;
  readonly seed?: bigint;
  readonly steps?: bigint;
  readonly guidanceScale?: number;
  readonly multiplier?: number;
}

type Writable = { -readonly [Field in keyof PromptFlags]: PromptFlags[Field] };

type Setting = (flags: Writable, content: string) => void;

const guidance: Setting = (flags, content) => {
  flags.guidanceScale = pythonFloat(content);
};
const multiplier: Setting = (flags, content) => {
  flags.multiplier = pythonFloat(content);
};
const seed: Setting = (flags, content) => {
  flags.seed = pythonInt(content);
};
const steps: Setting = (flags, content) => {
  flags.steps = pythonInt(content);
};
/** Read and dropped by Z-Image; what is no number stops the trainer all the same. */
const ignoredInt: Setting = (_flags, content) => {
  pythonInt(content);
};
const ignoredFloat: Setting = (_flags, content) => {
  pythonFloat(content);
};
const ignoredFloats: Setting = (_flags, content) => {
  for (const part of content.split(",")) pythonFloat(part);
};

/** `GenerateImageConfig._process_prompt_string`, the same from 4e62c38d to 27a03a91. Any other flag is dropped with its text. */
const settings: Readonly<Record<string, Setting>> = {
  n: (flags, content) => {
    flags.negativePrompt = content;
  },
  w: (flags, content) => {
    flags.width = pythonInt(content);
  },
  h: (flags, content) => {
    flags.height = pythonInt(content);
  },
  d: seed,
  seed,
  l: guidance,
  cfg: guidance,
  s: steps,
  steps,
  m: multiplier,
  network_multiplier: multiplier,
  gr: ignoredFloat,
  a: ignoredFloat,
  ref: ignoredFloat,
  ev: ignoredFloats,
  extra_values: ignoredFloats,
  frames: ignoredInt,
  num_frames: ignoredInt,
  fps: ignoredInt,
  ctrl_idx: ignoredInt,
};

/**
 * Takes a prompt apart as the trainer does: at every `--`, wherever it stands. A piece's flag is what
 * comes before its first blank, and a flag that is given twice counts the second time.
 *
 * @param prompt after the trigger word was filled in
 * @throws InputError for a flag whose number Python can't read: the trainer stops there
 */
export function parsePromptFlags(prompt: string): PromptFlags {
  const [text = "", ...pieces] = strip(prompt).split("--");
  const flags: Writable = { prompt: strip(text) };
  for (const piece of pieces) {
    const flag = strip(piece.split(" ", 1)[0]!);
    if (!Object.hasOwn(settings, flag)) continue;
    try {
      settings[flag]!(flags, strip(piece.slice(flag.length)));
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      throw new InputError(`its prompt's --${flag} can't be read: ${error.message}`);
    }
  }
  return flags;
}
