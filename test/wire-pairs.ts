import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { goldenFolder } from "./golden.ts";

const pairSchema = z.object({
  name: z.string(),
  method: z.enum(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]),
  path: z.string(),
  headers: z.record(z.string(), z.string()),
  body: z.union([z.object({ text: z.string() }), z.object({ base64: z.string() })]),
  status: z.number(),
  responseHeaders: z.record(z.string(), z.string()),
  response: z.union([z.object({ json: z.json() }), z.object({ text: z.string() })]),
});
export type WirePair = z.output<typeof pairSchema>;

/** Requests with the answers that the reference's own app gave: first the API's breadth, then its edges. */
export const wirePairs: readonly WirePair[] = ["pairs.json", "edges.json"].flatMap(
  (name) =>
    z
      .object({ pairs: z.array(pairSchema) })
      .parse(JSON.parse(readFileSync(join(goldenFolder, "wire", name), "utf8"))).pairs,
);

/** Where ours differs from the recorded answers, and why. Everything else is equal. */
export const wireDifferences: readonly {
  readonly why: string;
  readonly fits: (pair: WirePair) => boolean;
  readonly status?: number;
  readonly code?: string;
  readonly type?: string;
}[] = [
  {
    why: "the LoRA-shape errors never arrived as the 400 that the documentation promises",
    fits: ({ name }) =>
      /^(?:two loras|transformer two|two loras not found|transformer low)$/.test(name),
    status: 400,
  },
  {
    why: "a NaN or Infinity in a field made the reference fail while it wrote its answer",
    fits: ({ name }) => ["NaN width", "Infinity mult", "multiplier=inf"].includes(name),
    status: 422,
  },
  {
    why: "half a surrogate pair made the reference fail while it wrote its answer",
    fits: ({ name }) => name === "json lone surrogate",
    status: 400,
    code: "MODEL_NOT_FOUND",
  },
  {
    why: "the reference sends back whatever holds a token",
    fits: ({ name }) => name.startsWith("token, "),
    status: 422,
  },
  {
    why: "models that don't run here",
    fits: ({ name }) => /^(?:other model|video model|kontext|wan22)/.test(name),
    status: 400,
    code: "MODEL_NOT_FOUND",
  },
  {
    why: "seeds above 2^64 - 1 are accepted there and fail in torch",
    fits: ({ name }) => /^seed=(?:18446744073709551616|1(?:0){40})$/.test(name),
    status: 422,
    type: "less_than_equal",
  },
  {
    why: "a URL's scheme in capitals is a URL here; there it is a path that doesn't exist",
    fits: ({ name }) => name === "upper url",
    status: 200,
  },
  {
    why: "a path with nothing in it is a folder, which the reference takes and fails on later",
    fits: ({ name }) => name === "lora path=''",
    status: 400,
    code: "LORA_NOT_FOUND",
  },
  {
    why: "no origin is let in unless the operator says so",
    fits: ({ name }) => name === "preflight",
    status: 405,
  },
  {
    why: "an encoded slash is a part of the id, not of the path",
    fits: ({ path }) => path.includes("a%2Fb"),
    status: 404,
    code: "REQUEST_NOT_FOUND",
  },
];
