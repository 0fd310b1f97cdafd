import { z } from "zod";

/** What computes: execution providers of ONNX Runtime. */
export const devices = ["cpu", "cuda", "webgpu", "coreml", "dml"] as const;
export type Device = (typeof devices)[number];

/** Ways to round a transformer's matrices when they are loaded. */
export const quantizeKinds = ["int8"] as const;
export type Quantize = (typeof quantizeKinds)[number];

/** How models are opened, the same for the server's settings, its workers and the library. */
export const modelOptionsSchema = z.strictObject({
  /** A model store (a folder with the hub's names, `owner/name/`), a hub cache, `hub` for this machine's, or `demo`. */
  weights: z.string().min(1),
  /** `int8` rounds the transformer's matrices to 8 bits when they are loaded. */
  quantize: z.enum(["none", ...quantizeKinds]),
  /** Folder for files that weights are made into; they can be made again at any time. */
  cacheFolder: z.string().min(1),
  device: z.enum(devices),
  /** Networks stay open between pictures; otherwise each is open only while it works. */
  keepOpen: z.boolean(),
});
export type ModelOptions = z.output<typeof modelOptionsSchema>;
