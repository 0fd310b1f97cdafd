import type { GenerateInput } from "../job/request.ts";
import type { Rounding } from "../job/rounding.ts";

/** A LoRA as another program names it. */
export interface StatedLora {
  readonly name: string;
  readonly multiplier: number;
  /** Of the file, where it is known. */
  readonly sha256: string | null;
  /** Where it lies on this machine, where the source is a folder that says so. */
  readonly file: string | null;
}

/** A request as a file states it. */
export interface StatedRequest {
  /** What was read, in words. */
  readonly source: string;
  /** null: it is not said, or not known. */
  readonly model: string | null;
  /** Without its LoRAs; what the file doesn't say is left out. */
  readonly request: Partial<Omit<GenerateInput, "loras">>;
  readonly loras: readonly StatedLora[];
  readonly asTrained: Rounding | null;
  /** What another tool wrote, in its own words; null: the numbers are this API's or the trainer's. */
  readonly tool: {
    readonly name: string;
    readonly settings: readonly {
      readonly setting: string;
      readonly name: string;
      readonly value: string;
    }[];
    /** What is understood as none of the settings. */
    readonly others: readonly { readonly name: string; readonly value: string }[];
  } | null;
  /** What could not be carried over exactly, each a sentence. */
  readonly warnings: readonly string[];
}
