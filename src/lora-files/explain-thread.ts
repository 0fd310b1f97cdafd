import { parentPort, workerData } from "node:worker_threads";
import { InputError } from "../errors.ts";
import { withoutPaths } from "../files/without-paths.ts";
import type { GenerateRequest } from "../job/request.ts";
import { generateRequestSchema } from "../job/request.ts";
import { modelById } from "../models/registry.ts";
import { inspectModel } from "../pipeline/inspect.ts";
import type { Explained } from "../preview/explain.ts";
import { explain } from "../preview/explain.ts";
import type { NamedLora } from "../preview/explain-lora.ts";
import { stateFile } from "../preview/state-file.ts";
import type { StatedLora } from "../preview/stated-request.ts";
import type { Explanations } from "../wire/explain-answers.ts";
import type { ExplainTask } from "./explain.ts";
import { findLocalLora, LoraFolderError, LoraNotFoundError } from "./local.ts";
import { isLoraLink } from "./lora-path.ts";
import type { ThreadAnswer } from "./thread.ts";

async function answer(task: ExplainTask): Promise<ThreadAnswer<Explanations>> {
  try {
    const { model, asked } = await askedOf(task);
    const report = await inspectModel(task.weights, modelById(model));
    const explanations: Explanations["explanations"][number][] = [];
    for (const one of asked) {
      const { explanation } = await explain({ ...one, report });
      explanations.push(explanation);
    }
    return { answer: cleaned({ explanations }) };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return { refusal: withoutPaths(error.message) };
  }
}

type Asked = Omit<Explained, "report">;

async function askedOf(task: ExplainTask): Promise<{ model: string; asked: readonly Asked[] }> {
  if (task.read === "requests") {
    const { model, requests, loras, asTrained } = task;
    const rounded = asTrained ? ("usual" as const) : null;
    const rest = { source: "the request", tool: null, loras, asTrained: rounded, warnings: [] };
    return { model, asked: requests.map((request) => ({ ...rest, request })) };
  }
  const stated = await stateFile(task.bytes, "The body", { sample: task.sample });
  const model = task.model ?? stated.model;
  if (model === null) {
    throw new InputError("Which model it was is not known. Name it in the query: ?model=ID.");
  }
  const loras = await Promise.all(stated.loras.map((lora) => find(lora, task.loraFolder)));
  const paths = stated.loras.map(({ name, multiplier }) => ({ path: name, multiplier }));
  const request = parsed({ profile: "preview", ...stated.request, loras: paths });
  return { model, asked: [{ ...stated, request, loras }] };
}

function parsed(fields: object): GenerateRequest {
  const result = generateRequestSchema.safeParse(fields);
  if (result.success) return result.data;
  const problems = result.error.issues.map(
    ({ path, message }) => `${path.join(".") || "the request"}: ${message}.`,
  );
  throw new InputError(`The body states a request that can't be drawn: ${problems.join(" ")}`);
}

/** The server's own LoRA of that name: links are not followed for an explanation. */
async function find({ name }: StatedLora, folder: string): Promise<NamedLora> {
  const missing = {
    name,
    file: { missing: "no file of that name is in the server's LoRA folder." },
  };
  if (isLoraLink(name)) return missing;
  for (const path of [name, `${name}.safetensors`]) {
    try {
      return { name, file: await findLocalLora(folder, path) };
    } catch (error) {
      if (!(error instanceof LoraNotFoundError || error instanceof LoraFolderError)) throw error;
    }
  }
  return missing;
}

/** What is said of files never names where they lie. */
function cleaned({ explanations }: Explanations): Explanations {
  return {
    explanations: explanations.map((told) => ({
      ...told,
      loras: told.loras.map((lora) => ({
        ...lora,
        problem: lora.problem === null ? null : withoutPaths(lora.problem),
      })),
      warnings: told.warnings.map((warning) => withoutPaths(warning)),
    })),
  };
}

// The one who started this thread gives it a task.
parentPort?.postMessage(await answer(workerData as ExplainTask));
