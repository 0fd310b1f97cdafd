import { configNames, kindOfJobFile } from "../job/job-files.ts";
import { profileNames } from "../job/request.ts";
import type { Field, FieldError } from "./fields.ts";
import {
  decimal,
  integer,
  listOf,
  objectOf,
  oneOf,
  optional,
  required,
  text,
  truth,
} from "./fields.ts";
import type { JsonValue } from "./python-json.ts";
import { withoutToken } from "./request.ts";
import type { Holds } from "./shapes.ts";
import { documented } from "./shapes.ts";

// What clients send to have a training's previews taken again.

const longestPath = 4096;
/** Of a manifest: a training with 200 rounds of 20 samples has 4,000 previews. */
export const mostJobFiles = 5000;
/** Of a list of steps or samples. */
const mostChosen = 1000;
const mostSteps = 1_000_000_000;
const mostSeconds = 82_800;

/** The eras of the trainer that a preview can be of. */
const eras = profileNames.filter((name) => name.startsWith("preview-"));

/** The body of POST /v1/previews. Of `folder` and `upload` there is one. */
export const previewRequest = objectOf("PreviewInput", {
  folder: optional(
    documented(text({ maxLength: longestPath }), {
      description: "a job folder below the server's LoRA folder",
    }),
  ),
  upload: optional(
    documented(text({ maxLength: 36 }), { description: "id of a folder that was uploaded whole" }),
  ),
  steps: optional(
    documented(listOf(integer({ ge: 0, le: mostSteps }), { maxItems: mostChosen }), {
      description: "training steps whose previews are taken again; all, if left out",
    }),
  ),
  samples: optional(
    documented(listOf(integer({ ge: 0, le: mostSteps }), { maxItems: mostChosen }), {
      description: "places in the configuration's list of samples, from 0; all, if left out",
    }),
  ),
  era: optional(
    documented(oneOf(eras), { description: "in place of the one that the LoRA's header tells" }),
  ),
  as_trained: optional(
    documented(truth(), {
      description: "round the weights as the training did; the configuration decides, if left out",
    }),
  ),
  limit_seconds: optional(
    documented(decimal({ ge: 0, le: mostSeconds }), {
      description: "no picture is begun later than this after the run began",
    }),
  ),
  priority: optional(integer({ ge: -10, le: 10 })),
  webhook_url: optional(text({ maxLength: longestPath })),
});
export type PreviewRequest = Holds<typeof previewRequest>;

/** The bytes that a file of each kind may have. */
export interface JobFileLimits {
  readonly config: number;
  readonly preview: number;
  readonly lora: number;
}

/** A job folder's path of a file that can be sent. */
const jobFilePath: Field<string> = {
  schema: {
    type: "string",
    maxLength: 208,
    description: `${configNames.join(", ")}, samples/NAME.jpg (png, webp) or NAME.safetensors`,
  },
  parse(value, loc, errors) {
    const path = text({ maxLength: longestPath }).parse(value, loc, errors);
    if (path === undefined || kindOfJobFile(path) !== undefined) return path;
    errors.push(
      valueError(
        loc,
        `no file of a job folder that is needed: ${configNames.join(", ")}, samples/NAME.jpg (png, webp) or NAME.safetensors`,
        value,
      ),
    );
    return undefined;
  },
};

const sha256: Field<string> = {
  schema: { type: "string", pattern: "^[0-9a-f]{64}$" },
  parse(value, loc, errors) {
    const given = text({ maxLength: 64 }).parse(value, loc, errors);
    if (given === undefined || /^[0-9a-f]{64}$/.test(given)) return given;
    errors.push(valueError(loc, "no SHA-256 in 64 small hexadecimal digits", value));
    return undefined;
  },
};

/** The body of POST /v1/previews/uploads. */
export const manifestRequest = objectOf("JobManifest", {
  name: required(
    documented(text({ maxLength: 200 }), {
      minLength: 1,
      description: "of the folder, for people",
    }),
  ),
  files: required(
    documented(
      listOf(
        objectOf("JobFile", {
          path: required(jobFilePath),
          bytes: required(integer({ ge: 0, le: 2 ** 50 })),
          sha256: optional(
            documented(sha256, {
              description:
                "what comes is held to it; a LoRA that you have uploaded is not asked for again",
            }),
          ),
        }),
        { maxItems: mostJobFiles },
      ),
      { minItems: 1 },
    ),
  ),
});
export type Manifest = Holds<typeof manifestRequest>;

type Parsed<Body> =
  | { readonly body: Body; readonly errors?: never }
  | { readonly body?: never; readonly errors: readonly FieldError[] };

/** Checks a body. Errors carry what was sent, but never a token. */
export function parsePreviewRequest(body: JsonValue): Parsed<PreviewRequest> {
  return checked(previewRequest, body, ({ folder, upload }) =>
    (folder === null) === (upload === null)
      ? [valueError(["body"], "either 'folder' or 'upload' must be given", null)]
      : [],
  );
}

/** Checks a body: the fields, then what the files are together. */
export function parseManifest(body: JsonValue, limits: JobFileLimits): Parsed<Manifest> {
  return checked(manifestRequest, body, ({ files }) => {
    const errors: FieldError[] = [];
    const seen = new Set<string>();
    for (const [i, { path, bytes }] of files.entries()) {
      const loc = ["body", "files", i] as const;
      // To some file systems they are one.
      const folded = path.toLowerCase();
      if (seen.has(folded)) errors.push(valueError([...loc, "path"], "named twice", path));
      seen.add(folded);
      const most = limits[kindOfJobFile(path)!];
      if (Number(bytes) > most) {
        errors.push(
          valueError([...loc, "bytes"], `more than the ${most} that such a file may have`, bytes),
        );
      }
    }
    const kinds = new Set(files.map(({ path }) => kindOfJobFile(path)));
    if (!kinds.has("config"))
      errors.push(
        valueError(
          ["body", "files"],
          `no configuration among them: ${configNames.join(", ")}`,
          null,
        ),
      );
    if (!kinds.has("preview"))
      errors.push(
        valueError(
          ["body", "files"],
          "no previews among them: samples/NAME.jpg, png or webp",
          null,
        ),
      );
    return errors;
  });
}

function checked<Body>(
  field: Field<Body>,
  body: JsonValue,
  further: (parsed: Body) => readonly FieldError[],
): Parsed<Body> {
  const errors: FieldError[] = [];
  const parsed = field.parse(body, ["body"], errors);
  if (parsed !== undefined) errors.push(...further(parsed));
  if (parsed === undefined || errors.length > 0)
    return { errors: errors.slice(0, mostErrors).map(withoutToken) };
  return { body: parsed };
}

/** A manifest of thousands of wrong files is told by its first. */
const mostErrors = 20;

function valueError(loc: FieldError["loc"], why: string, input: unknown): FieldError {
  return { type: "value_error", loc, msg: `Value error, ${why}`, input, ctx: { error: {} } };
}
