import type { ModelDefinition } from "./model.ts";

/** Z-Image De-Turbo: a transformer of its own; everything else is Turbo's. */
export const zimageDeturbo: ModelDefinition = {
  id: "zimage_deturbo",
  repository: "Tongyi-MAI/Z-Image-Turbo",
  transformerRepository: "ostris/Z-Image-De-Turbo",
  shift: 3,
  steps: 25,
  guidanceScale: 3,
  seed: 42n,
  width: 1024,
  height: 1024,
  requiresControlImage: false,
  isVideoModel: false,
};
