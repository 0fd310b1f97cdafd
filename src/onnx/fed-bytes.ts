import type { Tensor } from "onnxruntime-node";

/** Of all sessions of this process. */
let total = 0;

/** Adds what a run is fed from our memory: that crosses to the device. What lies there already doesn't. */
export function addFed(feeds: Readonly<Record<string, Tensor>>): void {
  for (const feed of Object.values(feeds)) {
    // One on the device has no data that could be asked for.
    if (feed.location === "cpu" && ArrayBuffer.isView(feed.data)) total += feed.data.byteLength;
  }
}

/** @returns how many bytes this process's sessions were fed from its memory since the last call, or since this one */
export function countFedBytes(): () => number {
  let last = total;
  return () => {
    const fed = total - last;
    last = total;
    return fed;
  };
}
