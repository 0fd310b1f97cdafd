import { z } from "zod";

/** What computes: execution providers of ONNX Runtime. */
export const devices = ["cpu", "cuda", "webgpu", "dml"] as const;
export type Device = (typeof devices)[number];

/** `auto` is the best of them that can be used. */
export const deviceChoices = ["auto", ...devices] as const;
export type DeviceChoice = (typeof deviceChoices)[number];

/** What a person reads who named no device. */
export function noDevice(name: string): string {
  if (name === "coreml")
    return "coreml is not offered, as nobody has run Retake on it: take webgpu, which computes on a Mac's GPU through Metal";
  const meant = deviceChoices.find((known) => known.startsWith(name) || name.startsWith(known));
  const hint = name === "" || meant === undefined ? "" : ` (did you mean ${meant}?)`;
  return `there is no device ${JSON.stringify(name)}${hint}: take ${deviceChoices.join(", ")}`;
}

/**
 * How a transformer's weights are held: `original` as their file has them, the others in a copy
 * that is made once; `auto` is the device's choice.
 */
export const storages = ["auto", "original", "f32", "f16", "int8"] as const;
export type Storage = (typeof storages)[number];

/** What the older setting takes, and which storage each word stands for. */
export const quantizeKinds = ["none", "int8"] as const;
export type Quantize = (typeof quantizeKinds)[number];
const storageOfKind = { none: "original", int8: "int8" } as const;

/** A storage under its own name, its older name, or both. Without any it is `auto`. */
export interface AskedStorage {
  readonly storage?: Storage | undefined;
  readonly quantize?: Quantize | undefined;
}

/** Whether both names are used and stand for different things. */
export function contradict({ storage, quantize }: AskedStorage): boolean {
  return storage !== undefined && quantize !== undefined && storageOfKind[quantize] !== storage;
}

/** What is asked for, once it is known that the names don't contradict each other. */
export function storageOf({ storage, quantize }: AskedStorage): Storage {
  return storage ?? (quantize === undefined ? "auto" : storageOfKind[quantize]);
}

/** How models are opened, the same for the server's settings, its workers and the library. */
export const modelOptionsSchema = z.strictObject({
  /** A model store (a folder with the hub's names, `owner/name/`), a hub cache, `hub` for this machine's, or `demo`. */
  weights: z.string().min(1),
  storage: z.enum(storages),
  /** Folder for files that weights are made into; they can be made again at any time. */
  cacheFolder: z.string().min(1),
  device: z.enum(deviceChoices, { error: ({ input }) => noDevice(String(input)) }),
  /** Networks stay open between pictures; otherwise each is open only while it works. */
  keepOpen: z.boolean(),
});
export type ModelOptions = z.output<typeof modelOptionsSchema>;
