import type { ModelDefinition } from "./model.ts";

/** Z-Image Turbo. The reference server leaves this repository's own scheduler in place. */
export const zimageTurbo: ModelDefinition = {
  id: "zimage_turbo",
  repository: "Tongyi-MAI/Z-Image-Turbo",
  transformerRepository: "Tongyi-MAI/Z-Image-Turbo",
  shift: "repository",
  steps: 8,
  guidanceScale: 1,
  seed: 42n,
  width: 1024,
  height: 1024,
  requiresControlImage: false,
  isVideoModel: false,
};
