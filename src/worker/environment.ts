/**
 * What a worker's environment may hold: what programs, libraries, fonts, caches
 * and certificates are found by. No tokens and no database; no proxies either,
 * as nothing in a worker would use one.
 */
const passedOn = new RegExp(
  `^(?:${[
    ...["PATH", "HOME", "USERPROFILE", "LANG", "LC_.*", "TZ", "TMPDIR", "TEMP", "TMP", "XDG_.*"],
    ...["SYSTEMROOT", "WINDIR", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA"],
    ...["NODE_COMPILE_CACHE", "NODE_EXTRA_CA_CERTS", "NODE_USE_SYSTEM_CA"],
    ...["SSL_CERT_FILE", "SSL_CERT_DIR", "UV_THREADPOOL_SIZE"],
    ...["LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_.*", "MALLOC_.*"],
    ...["CUDA_.*", "NVIDIA_.*", "VK_.*", "MESA_.*", "RADV_.*", "DRI_PRIME", "OMP_.*", "ORT_.*"],
  ].join("|")})$`,
  "i",
);

/** The keys and the address of a bucket. */
const bucketNames = /^AWS_/i;

/** @param outputFolder where the worker writes: only a bucket needs keys */
export function workerEnvironment(
  environment: NodeJS.ProcessEnv,
  outputFolder: string,
): NodeJS.ProcessEnv {
  const needsKeys = outputFolder.startsWith("s3://");
  return Object.fromEntries(
    Object.entries(environment).filter(
      ([name]) => passedOn.test(name) || (needsKeys && bucketNames.test(name)),
    ),
  );
}
