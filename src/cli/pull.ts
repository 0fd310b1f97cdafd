import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { InputError } from "../errors.ts";
import { sizeText } from "../files/space.ts";
import type { Pulled } from "../hub/pull.ts";
import { pullModels } from "../models/pull.ts";
import type { ModelDefinition } from "../models/registry.ts";
import { adaptersOf, modelById, models, repositoriesOf } from "../models/registry.ts";
import { inspectModel } from "../pipeline/inspect.ts";
import { findRepository } from "../weights/store.ts";
import { startByteProgress } from "./progress.ts";
import { readStoreSettings } from "./settings.ts";
import { stoppable } from "./stop-signal.ts";

interface PullFlags {
  readonly weights?: string;
  readonly revision?: string[];
  readonly offline?: boolean;
  readonly json?: boolean;
}

export function addPullCommand(program: Command): void {
  program
    .command("pull")
    .description("fetch the weights of models from the Hugging Face hub")
    .argument("<models...>", `one or more of ${models.map(({ id }) => id).join(", ")}`)
    .option("--weights <folder>", "where to (default: RETAKE_WEIGHTS, or this machine's hub cache)")
    .option(
      "--revision <[repository=]name>",
      "branch, tag or commit instead of main; repeat it for each repository",
      (value: string, before: string[] = []) => [...before, value],
    )
    .option("--offline", "fetch nothing, say what is missing (HF_HUB_OFFLINE)")
    .option("--json", "print progress and result as lines of JSON")
    .action((ids: string[], flags: PullFlags) =>
      stoppable((signal) => runPull(ids, flags, signal)),
    );
}

async function runPull(ids: string[], flags: PullFlags, signal: AbortSignal): Promise<void> {
  const wanted = ids.map(modelById);
  const settings = readStoreSettings({
    RETAKE_WEIGHTS: flags.weights ?? (hasOwnStore() ? undefined : "hub"),
    HF_HUB_OFFLINE: flags.offline === true ? "1" : undefined,
  });
  const { weights, hub } = settings;
  const revisionOf = parseRevisions(flags.revision ?? [], wanted);
  if (hub.offline) return await reportOffline(wanted, weights, flags.json === true);

  const progress = startByteProgress(flags.json === true);
  try {
    const { onProgress } = progress;
    const onWait = (repository: string) => {
      process.stderr.write(`another process fetches ${repository}: waiting for it\n`);
    };
    const without: { repository: string; reason: string }[] = [];
    const onWithout = (repository: string, reason: string) => {
      without.push({ repository, reason });
    };
    const options = { revisionOf, signal, onProgress, onWait, onWithout };
    const pulled = await pullModels(ids, options, settings);
    progress.stop();
    for (const { repository, reason } of without)
      warnWithout(repository, `was not fetched: ${reason}`);
    process.stdout.write(
      flags.json === true
        ? `${JSON.stringify({ result: { weights, repositories: pulled.map(printed), without } })}\n`
        : pulled.map(sentence).join(""),
    );
  } finally {
    progress.stop();
  }
}

/** Whether the settings name a store that is not the demonstration. */
function hasOwnStore(): boolean {
  return readStoreSettings({}).weights !== "demo";
}

function parseRevisions(
  given: readonly string[],
  wanted: readonly ModelDefinition[],
): (repository: string) => string {
  const adapters = adaptersOf(wanted).map(({ repository }) => repository);
  const repositories = repositoriesOf(wanted)
    .map(({ repository }) => repository)
    .concat(adapters);
  const named = new Map<string, string>();
  for (const text of given) {
    const [repository, revision] = text.includes("=") ? text.split("=", 2) : ["", text];
    const isKnown = repository === "" || repositories.includes(repository ?? "");
    const isRevision =
      /^\w[\w.-]*(\/\w[\w.-]*)*$/.test(revision ?? "") && !revision?.includes("..");
    if (!isKnown || !isRevision || revision === undefined || repository === undefined) {
      throw new InputError(
        `--revision ${text} is not a branch, tag or commit. Write --revision NAME for all repositories, or --revision REPOSITORY=NAME for one of ${repositories.join(", ")}.`,
      );
    }
    named.set(repository, revision);
  }
  // A model's branch or tag is seldom one of its adapter too.
  return (repository) =>
    named.get(repository) ?? (adapters.includes(repository) ? "main" : (named.get("") ?? "main"));
}

/** @throws InputError listing what is missing */
async function reportOffline(
  wanted: readonly ModelDefinition[],
  weights: string,
  json: boolean,
): Promise<void> {
  const reports = await Promise.all(wanted.map((model) => inspectModel(weights, model)));
  const faults = reports.flatMap(({ model, components }) =>
    components
      .filter(({ state }) => state !== "there")
      .map(({ name, repository, state }) => `${model} ${name}/ of ${repository} is ${state}`),
  );
  if (faults.length > 0) {
    throw new InputError(
      `nothing is fetched offline (--offline, HF_HUB_OFFLINE), and ${weights} is not whole: ${[...new Set(faults)].join("; ")}. Pull with a connection, or bring the hub cache from another machine.`,
    );
  }
  const missing = await Promise.all(wanted.map((model) => missingAdapter(model, weights)));
  const without = [...new Set(missing.flat())].map((repository) => {
    return { repository, reason: "nothing is fetched offline" };
  });
  for (const { repository } of without) warnWithout(repository, `is not whole in ${weights}.`);
  process.stdout.write(
    json
      ? `${JSON.stringify({ result: { weights, offline: true, without } })}\n`
      : `all is in ${weights}\n`,
  );
}

/** A model's training adapter, if a file of it is not in the store. */
async function missingAdapter(
  { id, trainingAdapter }: ModelDefinition,
  weights: string,
): Promise<string[]> {
  if (trainingAdapter === null) return [];
  const { repository, files } = trainingAdapter;
  const folder = await findRepository(weights, { repository, model: id });
  const isWhole = folder !== undefined && files.every((file) => existsSync(join(folder, file)));
  return isWhole ? [] : [repository];
}

function warnWithout(repository: string, what: string): void {
  process.stderr.write(
    `warning: the training adapter ${repository} ${what} The model runs without it, but for --as-trained.\n`,
  );
}

function sentence({ repository, commit, folder, files, bytes, fetchedBytes }: Pulled): string {
  const how = fetchedBytes === 0 ? "was there already" : `fetched ${sizeText(fetchedBytes)}`;
  return `${repository}@${commit.slice(0, 12)}: ${files} files, ${sizeText(bytes)}, ${how}\n  ${folder}\n`;
}

function printed({ fetchedBytes, ...pulled }: Pulled) {
  return { ...pulled, fetched_bytes: fetchedBytes };
}
