import fc from "fast-check";
import { expect, test } from "vitest";
import {
  blank,
  blankPng,
  exifWithComment,
  jpegWithExif,
  pngChunk,
  textChunk,
  unicodeComment,
  withChunks,
} from "../../test/picture-texts.ts";
import { InputError } from "../errors.ts";
import { readDrawThings } from "./draw-things.ts";
import { readInvoke } from "./invokeai.ts";
import { readMflux } from "./mflux.ts";
import { readPicture } from "./picture.ts";
import { readRetake } from "./retake.ts";
import { readSwarm } from "./swarmui.ts";

const swarm = {
  sui_image_params: {
    prompt: "a cat",
    negativeprompt: "dog",
    model: "z_image_turbo_bf16",
    seed: "42",
    steps: 8,
    cfgscale: "1.0",
    aspectratio: "1:1",
    width: 1024,
    height: 768,
    sampler: "res_multistep",
    scheduler: "beta",
    sigmashift: 5,
    loras: "mine,other",
    loraweights: ["0.8", "-1"],
    swarm_version: "0.9.8",
  },
  sui_extra_data: { date: "2026-02-03" },
};

test("SwarmUI, as text and as UserComment", async () => {
  const text = JSON.stringify(swarm, null, 2);
  const png = withChunks(await blankPng(), textChunk("parameters", text));
  const jpeg = jpegWithExif(
    await blank(64, 64).jpeg().toBuffer(),
    exifWithComment(unicodeComment(text)),
  );
  for (const picture of [png, jpeg]) {
    const { settings } = await readPicture(picture);
    expect(settings).toMatchObject({
      tool: "swarmui",
      version: "0.9.8",
      standardCfg: 1,
      seed: 42n,
      sampler: "res_multistep",
      scheduler: "beta",
      shift: 5,
      noise: "cpu",
      loras: [
        { name: "mine", strength: 0.8 },
        { name: "other", strength: -1 },
      ],
      others: [{ name: "aspectratio", value: "1:1" }],
      unread: [],
    });
  }
  const { sampler: _, scheduler: __, sigmashift: ___, ...params } = swarm.sui_image_params;
  expect(readSwarm(JSON.stringify({ sui_image_params: params }))).toMatchObject({
    sampler: "euler",
    scheduler: "simple",
    shift: 3,
  });
});

test("InvokeAI: auto shift, cfg is the standard one", async () => {
  const metadata = {
    app_version: "6.10.0",
    generation_mode: "z_image_txt2img",
    cfg_scale: 4,
    negative_prompt: null,
    positive_prompt: "a cat",
    model: { key: "x", name: "Z-Image", base: "z-image", type: "main" },
    steps: 30,
    scheduler: "euler",
    seed: 7,
    width: 832,
    height: 1216,
    z_image_seed_variance_enabled: false,
    z_image_shift: "auto",
    loras: [{ model: { key: "y", name: "mine" }, weight: 0.75 }],
  };
  const chunk = textChunk("invokeai_metadata", JSON.stringify(metadata));
  const { settings } = await readPicture(withChunks(await blankPng(), chunk));
  expect(settings).toMatchObject({
    tool: "invokeai",
    standardCfg: 4,
    shift: "auto",
    sampler: "euler",
    scheduler: null,
    noise: "bf16-cpu",
    negative: { kind: "text", text: "" },
    loras: [{ name: "mine", strength: 0.75 }],
    model: "Z-Image",
    unread: [],
  });
  const varied = { ...metadata, z_image_seed_variance_enabled: true, z_image_shift: 3 };
  expect(readInvoke(JSON.stringify(varied))).toMatchObject({
    shift: 3,
    notes: expect.arrayContaining([expect.stringContaining("seed variance")]),
  });
});

const drawThings = {
  c: "a cat",
  uc: "",
  steps: 8,
  sampler: "DDIM Trailing",
  scale: 1,
  seed: 4294967295,
  size: "1024x768",
  model: "z_image_turbo_1.0_q8p.ckpt",
  strength: 1,
  seed_mode: "Torch CPU Compatible",
  shift: 3,
  lora: [{ model: "mine_lora_f16.ckpt", weight: 0.6 }],
  v2: { resolutionDependentShift: false, cfgZeroStar: true },
};

test("Draw Things, as PNG comment and in XMP", async () => {
  const json = JSON.stringify(drawThings);
  const xmp =
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description><exif:UserComment><rdf:Alt>' +
    `<rdf:li xml:lang="x-default">${json.replaceAll('"', "&quot;")}</rdf:li></rdf:Alt></exif:UserComment>` +
    "</rdf:Description></rdf:RDF></x:xmpmeta>";
  for (const chunk of [
    textChunk("Comment", json),
    pngChunk("iTXt", Buffer.from(`XML:com.adobe.xmp\0\0\0\0\0${xmp}`)),
  ]) {
    const description = textChunk(
      "Description",
      "a cat\nSteps: 8, Sampler: DDIM Trailing, Seed: 1",
    );
    const { settings } = await readPicture(withChunks(await blankPng(), description, chunk));
    expect(settings).toMatchObject({
      tool: "draw-things",
      standardCfg: 1,
      seed: 4294967295n,
      noise: "cpu",
      shift: 3,
      denoise: 1,
      width: 1024,
      height: 768,
      loras: [{ name: "mine_lora_f16.ckpt", strength: 0.6 }],
      notes: [expect.stringContaining("float16"), expect.stringContaining("CFG-Zero*")],
      others: [],
    });
  }
  const { shift: _, ...without } = drawThings;
  expect(readDrawThings(JSON.stringify({ ...without, seed_mode: "Scale Alike" }))).toMatchObject({
    shift: 1,
    noise: "unknown",
  });
  const auto = { ...drawThings, v2: { resolutionDependentShift: true } };
  expect(readDrawThings(JSON.stringify(auto))?.shift).toBe("auto");
});

test("mflux: its guidance is w, and Turbo has none", async () => {
  const metadata = {
    mflux_version: "0.13.0",
    model: "Tongyi-MAI/Z-Image",
    seed: 9,
    steps: 30,
    guidance: 3.0,
    width: 512,
    height: 512,
    precision: "mlx.core.bfloat16",
    quantize: 8,
    lora_paths: ["/Users/me/loras/mine.safetensors"],
    lora_scales: [0.5],
    prompt: "a cat",
    negative_prompt: null,
  };
  const comment = Buffer.from(`ASCII\0\0\0${JSON.stringify(metadata)}`);
  const png = withChunks(await blankPng(), pngChunk("eXIf", exifWithComment(comment).subarray(6)));
  expect((await readPicture(png)).settings).toMatchObject({
    tool: "mflux",
    standardCfg: 4,
    negative: { kind: "space" },
    noise: "mlx",
    scheduler: "flow_match_euler_discrete",
    loras: [{ name: "mine.safetensors", strength: 0.5 }],
    notes: ["The weights are rounded to 8 bits."],
  });
  expect(readMflux(JSON.stringify({ ...metadata, guidance: null }))).toMatchObject({
    standardCfg: 1,
    scheduler: "linear",
    shift: "auto",
  });
  expect(readMflux(JSON.stringify({ ...metadata, guidance: 1 }))?.standardCfg).toBe(1);
});

test("Retake's own, with a seed that no double holds", () => {
  const text =
    '{"software":"retake 0.1.0","model":"zimage","profile":"preview-0.10.25","prompt":"a cat","negative_prompt":"dog",' +
    '"width":64,"height":96,"num_inference_steps":2,"guidance_scale":4,"standard_cfg":4,"seed":18446744073709551615,' +
    '"schedule":"head","sigmas":[1,0.75,0],"loras":[{"sha256":"ab","name":null,"network_multiplier":-3}]}';
  expect(readRetake(text)).toMatchObject({
    tool: "retake",
    standardCfg: 4,
    seed: 2n ** 64n - 1n,
    givenSigmas: [1, 0.75, 0],
    loras: [{ name: "ab", strength: -3 }],
    own: { scheduler: { name: "profile", value: "preview-0.10.25" } },
  });
});

test("what is of the wrong kind is listed", () => {
  const params = { prompt: 3, seed: "x", loras: { a: 1 }, steps: true };
  expect(readSwarm(JSON.stringify({ sui_image_params: params }))?.unread).toEqual([
    '"prompt" is no text: 3.',
    '"steps" is no number: true.',
    '"seed" is no whole number: x.',
    '"loras" is no list: {"a":1}.',
  ]);
});

test("no JSON is a fault", () => {
  const readers = [readSwarm, readInvoke, readDrawThings, readMflux, readRetake];
  const marks = ['"sui_image_params"', '"seed_mode"', '"c"', '"mflux_version"', '"retake '];
  const json = fc.oneof(
    fc.json(),
    fc.constantFrom(...[swarm, drawThings].map((value) => JSON.stringify(value))),
    fc
      .tuple(fc.dictionary(fc.constantFrom("c", "seed", "loras", "lora", "size"), fc.jsonValue()))
      .map(([value]) => JSON.stringify({ ...value, seed_mode: 1, mflux_version: "1" })),
  );
  fc.assert(
    fc.property(json, fc.constantFrom(...marks), fc.nat(2000), (text, mark, cut) => {
      for (const read of readers) {
        for (const sample of [text, `{${mark}:${text}}`, text.slice(0, cut)]) {
          try {
            read(sample);
          } catch (error) {
            expect(error).toBeInstanceOf(InputError);
          }
        }
      }
    }),
    { numRuns: 500 },
  );
});
