// Retake as a library: what a program in Node 24 may import. docs/library.md shows it in use.

export type { Device, Quantize } from "./config/model-options.ts";
export { CanceledError, InputError, MissingFileError } from "./errors.ts";
export type { ImageFormat } from "./image/encode-image.ts";
export { encodeImage } from "./image/encode-image.ts";
export type { GenerateInput } from "./job/request.ts";
export type { TargetFormat } from "./lora/convert.ts";
export { convertLora } from "./lora/convert.ts";
export type { LoraDescription } from "./lora/describe.ts";
export { describeLora } from "./lora/describe.ts";
export { TransferError } from "./net/errors.ts";
export type { Generated, GenerateOptions, StepProgress } from "./pipeline/generate.ts";
export type { OpenOptions, OpenPipeline } from "./pipeline/open.ts";
export { openPipeline } from "./pipeline/open.ts";
export type { Tensor } from "./tensor/tensor.ts";
