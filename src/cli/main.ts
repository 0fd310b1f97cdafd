import { constants, enableCompileCache } from "node:module";
import { compileCache } from "../paths.ts";

// Node compiles some 300 files at each start; what it made of them is kept, which halves the time
// to the first line. Where the folder can't be written, nothing is kept. The folder is the
// package's own or its project's: what lies in a shared one, others could have written.
const { status } = enableCompileCache(compileCache);
// Workers take it from here.
if (status === constants.compileCacheStatus.ENABLED) process.env.NODE_COMPILE_CACHE = compileCache;
// After that only: a static import would be loaded before it.
await import("./program.ts");
