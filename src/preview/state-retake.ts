import { InputError } from "../errors.ts";
import type { AskedProfileName } from "../job/request.ts";
import { askedProfileNames } from "../job/request.ts";
import type { Rounding } from "../job/rounding.ts";
import { roundingSchema } from "../job/rounding.ts";
import { fileNameOf } from "../tools/exported.ts";
import { JsonFields } from "../tools/json-fields.ts";
import { isObject } from "../tools/tool-json.ts";
import type { StatedLora, StatedRequest } from "./stated-request.ts";

/** Where the trainer's page takes Turbo's training adapters from. */
const adapterRepository = "ostris/zimage_turbo_training_adapter";

/** The request that made a picture here: every number is as it was given, in the profile that was used. */
export function stateRetake(fields: JsonFields): StatedRequest {
  const profile = profileOf(fields);
  const given = {
    prompt: fields.text("prompt"),
    negativePrompt: fields.text("negative_prompt"),
    width: fields.number("width"),
    height: fields.number("height"),
    steps: fields.number("num_inference_steps"),
    guidanceScale: fields.number("guidance_scale"),
    seed: fields.integer("seed"),
  };
  const omitted = fields.list("omitted").map((name) => `"${name}" was left out of the file.`);
  const transformer = fields.nested("transformer");
  const file = transformer?.text("file") ?? null;
  const quantization = transformer?.text("quantization") ?? null;
  // f32 and f16 hold the numbers that were stored, or nearly.
  fields.text("storage");
  return {
    source: `a picture of ${fields.text("software")}`,
    model: fields.text("model"),
    request: {
      ...(Object.fromEntries(
        Object.entries(given).filter(([, value]) => value !== null),
      ) as Partial<{ [Name in keyof typeof given]: NonNullable<(typeof given)[Name]> }>),
      profile,
    },
    loras: fields.list("loras").map((lora): StatedLora => {
      const entry = new JsonFields(isObject(lora) ? lora : {});
      const sha256 = entry.text("sha256");
      const multiplier = entry.number("network_multiplier");
      if (multiplier === null) throw new InputError("A LoRA of the picture has no multiplier.");
      const name = fileNameOf(entry.text("name") ?? sha256 ?? "of the picture");
      return { name, multiplier, sha256, file: null };
    }),
    asTrained: roundingOf(fields.nested("as_trained")),
    tool: null,
    warnings: [
      ...omitted,
      ...(file === null
        ? []
        : [`The transformer was the file ${file}: on the command line, --transformer takes it.`]),
      ...(file === null && quantization !== null
        ? [
            `The transformer was rounded when it was loaded: on the command line, --storage ${quantization} rounds it.`,
          ]
        : []),
      ...fields.unread,
    ],
  };
}

/** Pictures of the first versions don't say it: they knew one profile. */
function profileOf(fields: JsonFields): AskedProfileName {
  const name = fields.text("profile") ?? "reference";
  const known = askedProfileNames.find((profile) => profile === name);
  if (known !== undefined) return known;
  throw new InputError(
    `The picture's profile ${name} is not known here: a newer Retake made it. Update, or ask for another profile.`,
  );
}

function roundingOf(fields: JsonFields | null): Rounding | null {
  if (fields === null) return null;
  const dtype = fields.text("dtype") ?? "bf16";
  const method = (key: string) => (fields.text(key) === dtype ? null : fields.text(key));
  const adapter = fields.text("training_adapter");
  const parsed = roundingSchema.safeParse({
    transformer: method("transformer"),
    textEncoder: method("text_encoder"),
    dtype,
    embedders: fields.value("embedders") === true,
    adapter: adapter === null ? null : `${adapterRepository}/${adapter}`,
  });
  if (parsed.success) return parsed.data;
  throw new InputError("How the picture's weights were rounded can't be read (as_trained).");
}
