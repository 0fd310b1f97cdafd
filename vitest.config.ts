import type { ViteUserConfig } from "vitest/config";

const config: ViteUserConfig = {
  test: {
    include: ["{src,test,bench}/**/*.test.ts"],
    setupFiles: ["test/matchers.ts"],
    // A session of the runtime uses all cores: more processes only get in each other's way.
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
};

export default config;
