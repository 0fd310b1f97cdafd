/** Ways to round a transformer's matrices when they are loaded. */
export const quantizeKinds = ["int8"] as const;

export type Quantize = (typeof quantizeKinds)[number];
