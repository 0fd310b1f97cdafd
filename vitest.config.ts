import type { ProvidedContext } from "vitest";
import type { ViteUserConfig } from "vitest/config";
import type { TestSpecification } from "vitest/node";
import { BaseSequencer } from "vitest/node";

/** What takes longest goes first, so that nothing long is left when the rest is done. */
const slow =
  /test\/(?:pull|auto-pull|locks|docs|nodes|shared-loras|stopping|package|report-page|tokens)\.test\.ts$/;

class SlowFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isSlow = ({ moduleId }: TestSpecification) => slow.test(moduleId);
    return [...sorted.filter(isSlow), ...sorted.filter((file) => !isSlow(file))];
  }
}

/** A variable for the tests. It is none of the program's, which refuses names that it doesn't know. */
function take(name: string): string | null {
  const text = process.env[name] ?? null;
  delete process.env[name];
  return text;
}

const asked: ProvidedContext["asked"] = {
  devices: take("RETAKE_TEST_DEVICES"),
  storages: take("RETAKE_TEST_STORAGES"),
  few: take("RETAKE_TEST_FEW"),
  differences: take("RETAKE_TEST_DIFFERENCES"),
};

/** Against tests that hang, not slow ones. A device that is a program takes minutes for a large picture. */
const limitMs = asked.devices === null ? 120_000 : 1_200_000;

const config: ViteUserConfig = {
  test: {
    include: ["{src,test,bench}/**/*.test.ts"],
    globalSetup: ["test/temporary-folder.ts"],
    setupFiles: ["test/matchers.ts"],
    provide: { asked },
    sequence: { sequencer: SlowFirst },
    // A session of the runtime uses all cores, but tests of servers wait for most of their time.
    maxWorkers: 4,
    // Files share processes, and what they import is loaded once in each: no module keeps what a test could see.
    isolate: false,
    testTimeout: limitMs,
    hookTimeout: limitMs,
  },
};

export default config;
