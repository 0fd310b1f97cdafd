import { z } from "zod";
import { chooseSeed, defaultSeed, drawnSeed, largestSeed } from "./seed.ts";

/** What the reference API takes, both ends included. */
export const bounds = {
  /** Width and height, in pixels. */
  pixels: { ge: 64, le: 4096 },
  steps: { ge: 1, le: 150 },
  guidanceScale: { ge: 0, le: 20 },
  /** Of a LoRA; `network_multiplier` in the API. */
  multiplier: { ge: -2, le: 2 },
} as const;

/** Width and height where none is given, in pixels. */
export const defaultPixels = 1024;

/** `preview-V`: as ai-toolkit drew its training previews from version V on. */
export const profileNames = [
  "reference",
  "diffusers",
  "preview-0.7.6",
  "preview-0.7.25",
  "preview-0.9.14",
  "preview-0.10.21",
  "preview-0.10.25",
] as const;
export type ProfileName = (typeof profileNames)[number];

/** What a request may ask for; `preview`: the era of its first LoRA. */
export const askedProfileNames = ["preview", ...profileNames] as const;
export type AskedProfileName = (typeof askedProfileNames)[number];

/** More than anybody combines: a bound for memory. */
export const mostLoras = 16;

const pixels = z.int().min(bounds.pixels.ge).max(bounds.pixels.le);

/** As many as there are noise levels in training: more than that would repeat some. */
const mostSteps = 1000;

/** A LoRA file and how strongly it acts. */
const loraSchema = z.strictObject({ path: z.string().min(1), multiplier: z.number() });

/**
 * One picture to make. What is left out takes the model's default. Its numbers have the bounds of
 * a training preview, which may be any: a preview is an ordinary request.
 */
export const generateRequestSchema = z.strictObject({
  /** `[trigger]` stands for the trigger word. */
  prompt: z.string(),
  /** Acts where the guidance does. */
  negativePrompt: z.string().default(""),
  triggerWord: z.string().optional(),
  /** Act together, each with its multiplier; the order matters for DoRA only. */
  loras: z.array(loraSchema).max(mostLoras).default([]),
  /** In pixels, 64 to 4096; the profile says which of them are taken as they are. */
  width: pixels.optional(),
  height: pixels.optional(),
  /** The profile says how many updates they make. */
  steps: z.int().min(1).max(mostSteps).optional(),
  /** The profile says what it comes to, and from where on the negative prompt counts. */
  guidanceScale: z.number().optional(),
  /** -1 to 2^64 - 1; once parsed, the one that the picture is made with. */
  seed: z
    .bigint()
    .min(drawnSeed)
    .max(largestSeed)
    .default(defaultSeed)
    .transform((seed) => chooseSeed(seed, 0)),
  /** What the numbers mean: docs/models.md has the table. */
  profile: z.enum(askedProfileNames).default("reference"),
});

/** The same within the bounds of the reference API, which the command line has too. */
export const boundedRequestSchema = generateRequestSchema.extend({
  loras: z
    .array(
      loraSchema.extend({
        multiplier: z.number().min(bounds.multiplier.ge).max(bounds.multiplier.le),
      }),
    )
    .max(mostLoras)
    .default([]),
  steps: z.int().min(bounds.steps.ge).max(bounds.steps.le).optional(),
  guidanceScale: z.number().min(bounds.guidanceScale.ge).max(bounds.guidanceScale.le).optional(),
});

/** A request with its defaults filled in. */
export type GenerateRequest = z.output<typeof generateRequestSchema>;
/** A request as it is given. */
export type GenerateInput = z.input<typeof generateRequestSchema>;
