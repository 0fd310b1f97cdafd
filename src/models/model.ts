/** A model that can be asked for by its id: where its parts lie and what it does when nothing is said. */
export interface ModelDefinition {
  readonly id: string;
  /** Hub repository with `tokenizer/`, `text_encoder/`, `vae/` and `scheduler/`. */
  readonly repository: string;
  /** Hub repository with `transformer/`. */
  readonly transformerRepository: string;
  /** Shift of the FlowMatchEuler schedule, or that the repository's `scheduler/` decides. */
  readonly shift: number | "repository";
  readonly steps: number;
  readonly guidanceScale: number;
  readonly seed: bigint;
  readonly width: number;
  readonly height: number;
  readonly requiresControlImage: boolean;
  readonly isVideoModel: boolean;
}
