import * as ort from "onnxruntime-node";

type Feeds = Readonly<Record<string, ort.Tensor>>;

/** The class of all sessions, which the package's types show as an interface only. */
const { prototype } = ort.InferenceSession as unknown as {
  prototype: { run(feeds: Feeds, ...rest: unknown[]): Promise<unknown> };
};

/**
 * Counts, from now on, the bytes that this process's sessions are fed from our memory, which cross to
 * the device. What lies there already doesn't.
 *
 * @returns the bytes since the last call
 */
export function countFedBytes(): () => number {
  let bytes = 0;
  const { run } = prototype;
  prototype.run = function (this: unknown, feeds, ...rest) {
    for (const feed of Object.values(feeds)) {
      // One on the device has no data that could be asked for.
      if (feed.location === "cpu") bytes += (feed.data as Float32Array).byteLength;
    }
    return run.call(this, feeds, ...rest);
  };
  return () => {
    const counted = bytes;
    bytes = 0;
    return counted;
  };
}
