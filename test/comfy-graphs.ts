import { parseGraph } from "../src/tools/comfy-graph.ts";
import { readComfyGraph } from "../src/tools/comfyui.ts";
import type { ToolSettings } from "../src/tools/settings.ts";
import type { JsonValue } from "../src/wire/python-json.ts";

export type Nodes = Record<string, { class_type: string; inputs: Record<string, JsonValue> }>;

/** A graph as the official Z-Image templates make it: ids of a subgraph's nodes hold a colon. */
export function graphOf(changes: Nodes = {}): Nodes {
  return {
    "9": { class_type: "SaveImage", inputs: { filename_prefix: "z-image", images: ["57:8", 0] } },
    "57:30": {
      class_type: "CLIPLoader",
      inputs: { clip_name: "qwen_3_4b.safetensors", type: "lumina2", device: "default" },
    },
    "57:29": { class_type: "VAELoader", inputs: { vae_name: "ae.safetensors" } },
    "57:28": {
      class_type: "UNETLoader",
      inputs: { unet_name: "z_image_bf16.safetensors", weight_dtype: "default" },
    },
    "57:12": {
      class_type: "LoraLoaderModelOnly",
      inputs: { lora_name: "mine.safetensors", strength_model: 0.8, model: ["57:28", 0] },
    },
    "57:11": {
      class_type: "ModelSamplingAuraFlow",
      inputs: { shift: 3, model: ["57:12", 0] },
    },
    "57:27": { class_type: "CLIPTextEncode", inputs: { text: "a cat", clip: ["57:30", 0] } },
    "57:33": { class_type: "CLIPTextEncode", inputs: { text: "", clip: ["57:30", 0] } },
    "57:13": {
      class_type: "EmptySD3LatentImage",
      inputs: { width: 1024, height: 768, batch_size: 1 },
    },
    "57:3": {
      class_type: "KSampler",
      inputs: {
        seed: 42,
        steps: 25,
        cfg: 4,
        sampler_name: "euler",
        scheduler: "simple",
        denoise: 1,
        model: ["57:11", 0],
        positive: ["57:27", 0],
        negative: ["57:33", 0],
        latent_image: ["57:13", 0],
      },
    },
    "57:8": { class_type: "VAEDecode", inputs: { samples: ["57:3", 0], vae: ["57:29", 0] } },
    ...changes,
  };
}

/** What a graph says of a picture of 1024 x 768. */
export function read(nodes: Nodes): ToolSettings {
  return readComfyGraph(parseGraph(nodes as JsonValue), { width: 1024, height: 768 });
}

export function withInputs(nodes: Nodes, id: string, inputs: Record<string, JsonValue>): Nodes {
  const node = nodes[id]!;
  return { ...nodes, [id]: { ...node, inputs: { ...node.inputs, ...inputs } } };
}
