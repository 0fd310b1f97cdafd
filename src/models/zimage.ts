import type { ModelDefinition } from "./model.ts";

/** Z-Image, the base model. Its repository says shift 6.0; training previews and the reference server use 3.0. */
export const zimage: ModelDefinition = {
  id: "zimage",
  repository: "Tongyi-MAI/Z-Image",
  transformerRepository: "Tongyi-MAI/Z-Image",
  shift: 3,
  steps: 30,
  guidanceScale: 4,
  seed: 42n,
  width: 1024,
  height: 1024,
  requiresControlImage: false,
  isVideoModel: false,
};
