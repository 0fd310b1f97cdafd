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
  /** Weights are rounded as in training. */
  readonly asTrained: boolean;
}

/** A text for another program, and what in it is not the same there, each a sentence. */
export interface Exported {
  readonly text: string;
  readonly warnings: readonly string[];
}

/** Of a path or a link: what the file is called. */
export function fileNameOf(path: string): string {
  return (
    path
      .replace(/[?#].*$/, "")
      .split(/[/\\]/)
      .at(-1) ?? path
  );
}

/** Weights that are rounded as in training are rounded by nobody else. */
export function roundingWarning({ asTrained }: ExportedRequest, where: string): string[] {
  return asTrained
    ? [
        `${where} runs the weights as they are stored: the rounding of the training is not exported.`,
      ]
    : [];
}
