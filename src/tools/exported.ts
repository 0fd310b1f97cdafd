import type { Profile } from "../models/profiles.ts";
import type { ModelDefinition } from "../models/registry.ts";

/** A LoRA that a request goes out with. */
export interface ExportedLora {
  /** Path or link, as it was given. */
  readonly path: string;
  readonly multiplier: number;
  /** Of the file, where it could be read: `ai-toolkit`, `kohya`, … and `LoRA`, `LoKr`, … */
  readonly format: string | null;
  readonly network: string | null;
  /** The profile of its trainer's previews; null: its header doesn't say. */
  readonly era: Profile | null;
}

/** A request with all that it comes to, ready to be written for another program. */
export interface ExportedRequest {
  readonly model: ModelDefinition;
  readonly profile: Profile;
  /** With its trigger word filled in. */
  readonly prompt: string;
  readonly negativePrompt: string;
  /** Multiples of 16, in pixels. */
  readonly width: number;
  readonly height: number;
  /** As asked of the profile. */
  readonly steps: number;
  readonly guidanceScale: number;
  /** The w of `pos + w·(pos - neg)`; 0: one pass. */
  readonly guidanceWeight: number;
  readonly seed: bigint;
  /** From 1 down to 0, each another: as many updates as there are but one. */
  readonly sigmas: readonly number[];
  /** Of the schedule that they are of. */
  readonly shift: number;
  readonly loras: readonly ExportedLora[];
  /** How weights are rounded as in training; `usual`: as the trainer's page sets a job of this version up. */
  readonly rounding: "usual" | "other" | null;
}

/** A text for another program, and what in it is not the same there, each a sentence. */
export interface Exported {
  readonly text: string;
  readonly warnings: readonly string[];
}

/** Whether a LoRA is named by a link; the program that draws has to fetch it then. */
export function isLink(path: string): boolean {
  return /^(?:https?|hf):/i.test(path);
}

/** Of a path or a link: what the file is called. A file's name may hold what ends a link's path. */
export function fileNameOf(path: string): string {
  const plain = isLink(path) ? path.replace(/[?#].*$/s, "") : path;
  return plain.split(/[/\\]/).at(-1)!;
}

/** Weights that are rounded as in training are rounded by nobody else. */
export function roundingWarning({ rounding }: ExportedRequest, where: string): string[] {
  return rounding === null
    ? []
    : [
        `${where} runs the weights as they are stored: the rounding of the training is not exported.`,
      ];
}
