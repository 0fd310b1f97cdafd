import fc from "fast-check";
import { expect, test } from "vitest";
import { blankPng, textChunk, withChunks } from "../../test/picture-texts.ts";
import { InputError } from "../errors.ts";
import type { JsonValue } from "../wire/python-json.ts";
import { workflowGraph } from "./comfy-workflow.ts";
import { readComfyGraph } from "./comfyui.ts";
import { readPicture } from "./picture.ts";

const size = { width: 768, height: 512 };

function input(name: string, type: string, link: number | null, widget = false) {
  return { name, type, link, ...(widget ? { widget: { name } } : {}) };
}

function link(id: number, origin_id: number, origin_slot: number, target_id: number, slot: number) {
  return { id, origin_id, origin_slot, target_id, target_slot: slot, type: "*" };
}

/** A workflow as the official templates build them: all but the saving node lies in a subgraph. */
const workflow = {
  nodes: [
    { id: 1, type: "MarkdownNote", mode: 0, widgets_values: ["# Note"] },
    {
      id: 9,
      type: "SaveImage",
      mode: 0,
      inputs: [input("images", "IMAGE", 62)],
      widgets_values: ["z"],
    },
    {
      id: 57,
      type: "f2fdebf6",
      mode: 0,
      inputs: [input("text", "STRING", null, true)],
      outputs: [{ name: "IMAGE", type: "IMAGE", links: [62] }],
      properties: {
        proxyWidgets: [
          ["-1", "text"],
          ["-1", "width"],
          ["3", "seed"],
          ["3", "control_after_generate"],
        ],
      },
      widgets_values: ["a cat", 768, 99, "randomize"],
    },
  ],
  links: [[62, 57, 0, 9, 0, "IMAGE"]],
  definitions: {
    subgraphs: [
      {
        id: "f2fdebf6",
        inputs: [{ name: "text" }, { name: "width" }],
        outputs: [{ name: "IMAGE" }],
        nodes: [
          {
            id: 30,
            type: "CLIPLoader",
            mode: 0,
            widgets_values: ["qwen.safetensors", "lumina2", "default"],
          },
          { id: 28, type: "UNETLoader", mode: 0, widgets_values: ["z.safetensors", "default"] },
          {
            id: 11,
            type: "ModelSamplingAuraFlow",
            mode: 4,
            inputs: [input("model", "MODEL", 26)],
            outputs: [{ name: "MODEL", type: "MODEL" }],
            widgets_values: [5],
          },
          {
            id: 12,
            type: "Reroute",
            mode: 0,
            inputs: [input("", "*", 13)],
            outputs: [{ type: "MODEL" }],
          },
          {
            id: 27,
            type: "CLIPTextEncode",
            mode: 0,
            inputs: [input("clip", "CLIP", 28), input("text", "STRING", 34, true)],
            widgets_values: ["stale"],
          },
          {
            id: 33,
            type: "ConditioningZeroOut",
            mode: 0,
            inputs: [input("conditioning", "CONDITIONING", 32)],
          },
          {
            id: 13,
            type: "EmptySD3LatentImage",
            mode: 0,
            inputs: [input("width", "INT", 35, true)],
            widgets_values: [1024, 512, 1],
          },
          {
            id: 3,
            type: "KSampler",
            mode: 0,
            inputs: [
              input("model", "MODEL", 14),
              input("positive", "CONDITIONING", 30),
              input("negative", "CONDITIONING", 33),
              input("latent_image", "LATENT", 17),
            ],
            widgets_values: [1, "randomize", 8, 1, "res_multistep", "simple", 1],
          },
          { id: 8, type: "VAEDecode", mode: 0, inputs: [input("samples", "LATENT", 15)] },
        ],
        links: [
          link(26, 28, 0, 11, 0),
          link(13, 11, 0, 12, 0),
          link(14, 12, 0, 3, 0),
          link(28, 30, 0, 27, 0),
          link(34, -10, 0, 27, 1),
          link(35, -10, 1, 13, 0),
          link(30, 27, 0, 3, 1),
          link(32, 27, 0, 33, 0),
          link(33, 33, 0, 3, 2),
          link(17, 13, 0, 3, 3),
          link(15, 3, 0, 8, 0),
          link(16, 8, 0, -20, 0),
        ],
      },
    ],
  },
};

test("a subgraph is opened, its values come from outside, a bypassed node does nothing", () => {
  expect(readComfyGraph(workflowGraph(workflow), size)).toMatchObject({
    prompt: "a cat",
    negative: { kind: "zeros" },
    seed: 99n,
    steps: 8,
    sampler: "res_multistep",
    standardCfg: 1,
    shift: 3,
    width: 768,
    height: 512,
    model: "z.safetensors",
    textEncoder: "qwen.safetensors",
    notes: [],
    unread: [],
  });
});

test("a picture with the workflow alone says that it is only the editor's", async () => {
  const png = withChunks(await blankPng(), textChunk("workflow", JSON.stringify(workflow)));
  const { settings } = await readPicture(png);
  expect(settings.seed).toBe(99n);
  expect(settings.notes[0]).toMatch(/editor's workflow/);
});

test("subgraphs that hold themselves and reroutes in a circle are an end", () => {
  const self = {
    nodes: [{ id: 1, type: "s" }],
    links: [],
    definitions: { subgraphs: [{ id: "s", nodes: [{ id: 1, type: "s" }], links: [] }] },
  };
  expect(() => workflowGraph(self)).toThrow(InputError);
  const circle = {
    nodes: [
      { id: 1, type: "Reroute", inputs: [input("", "*", 1)] },
      { id: 2, type: "KSampler", inputs: [input("model", "MODEL", 2)] },
    ],
    links: [
      [1, 1, 0, 1, 0, "*"],
      [2, 1, 0, 2, 0, "*"],
    ],
  };
  expect(workflowGraph(circle).get("2")?.inputs).toEqual({});
});

test("no workflow is a fault", () => {
  const leaf = fc.oneof(
    fc.integer({ min: -20, max: 3 }),
    fc.constantFrom("KSampler", "s"),
    fc.constant(null),
  );
  const node = fc.record(
    {
      id: leaf,
      type: fc.constantFrom("KSampler", "s", "t", "Reroute", "PrimitiveNode", "VAEDecode"),
      mode: fc.constantFrom(0, 2, 4),
      inputs: fc.array(
        fc.record({ name: fc.constantFrom("model", "text"), type: leaf, link: leaf, widget: leaf }),
      ),
      outputs: fc.array(fc.record({ type: leaf })),
      widgets_values: fc.oneof(fc.array(leaf), fc.dictionary(fc.string(), leaf)),
      properties: fc.record({ proxyWidgets: fc.array(fc.array(leaf)) }),
    },
    { requiredKeys: ["type"] },
  );
  const sheet = {
    nodes: fc.array(node, { maxLength: 5 }),
    links: fc.array(
      fc.oneof(fc.array(leaf), fc.record({ id: leaf, origin_id: leaf, target_id: leaf })),
    ),
  };
  const subgraph = fc.record({
    ...sheet,
    id: fc.constantFrom("s", "t"),
    inputs: fc.array(fc.record({ name: leaf })),
  });
  const sample = fc.record({
    ...sheet,
    definitions: fc.record({ subgraphs: fc.array(subgraph, { maxLength: 2 }) }),
  });
  fc.assert(
    fc.property(fc.oneof(sample, fc.jsonValue()), (value) => {
      try {
        readComfyGraph(workflowGraph(value as JsonValue), size);
      } catch (error) {
        expect(error).toBeInstanceOf(InputError);
      }
    }),
    { numRuns: 500 },
  );
});
