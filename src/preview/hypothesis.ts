import type { ProfileName } from "../job/request.ts";
import type { JobConfig } from "./job-config.ts";
import type { JobFolder } from "./job-folder.ts";
import type { PlanOptions } from "./plan.ts";
import type { TrainedLora } from "./trained-loras.ts";

/** What may have been otherwise than the job's files say, for all of the job or a part of it. */
export interface Hypothesis {
  readonly factor: string;
  readonly value: string;
  readonly sentence: string;
  readonly flag: string | null;
  /** How far it reaches: pictures within it that are right already speak against it. */
  readonly reach: "job" | "round" | "picture";
  /** The job as it would have been. */
  readonly job: JobFolder;
  readonly options: PlanOptions;
}

/** The picture that is asked about. */
export interface Subject {
  readonly index: number;
  readonly step: number;
  readonly set: "first_sample" | "sample";
  readonly lora: TrainedLora | null;
  readonly profile: ProfileName;
}

export type Words = Pick<Hypothesis, "factor" | "value" | "sentence"> & {
  readonly flag?: string;
  readonly reach?: Hypothesis["reach"];
};

/** Says what would follow from another configuration. */
export type Edited = (words: Words, edit: (config: JobConfig) => JobConfig) => Hypothesis;
