// Retake as a library: what a program in Node 24 may import. docs/library.md shows it in use. The
// command line and the server's workers use the same functions.

export type { Device, ModelOptions, Quantize, Storage } from "./config/model-options.ts";
export { CanceledError, InputError, MissingFileError } from "./errors.ts";
export type { Pulled } from "./hub/pull.ts";
export type { ImageFormat } from "./image/encode-image.ts";
export { encodeImage } from "./image/encode-image.ts";
export type { GenerateInput } from "./job/request.ts";
export type { TargetFormat } from "./lora/convert.ts";
export { convertLora } from "./lora/convert.ts";
export type { LoraDescription } from "./lora/describe.ts";
export { describeLora } from "./lora/describe.ts";
export type { PullModelsOptions } from "./models/pull.ts";
export { pullModels as pull } from "./models/pull.ts";
export { TransferError } from "./net/errors.ts";
export type { Generated, GenerateOptions, StepProgress } from "./pipeline/generate.ts";
export type { OpenOptions, OpenPipeline } from "./pipeline/open.ts";
export { openPipeline } from "./pipeline/open.ts";
export type { Tensor } from "./tensor/tensor.ts";
