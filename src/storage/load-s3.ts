import { loadOptional } from "../optional-package.ts";

/**
 * Loads what speaks to S3. Its packages take a third of a second: only for those who use them.
 *
 * @throws InputError naming the setting and the command that adds the packages
 */
export function loadS3<Loaded>(setting: string, load: () => Promise<Loaded>): Promise<Loaded> {
  return loadOptional(
    `${setting}: a place that starts with s3://`,
    ["@aws-sdk/client-s3", "@aws-sdk/lib-storage"],
    load,
  );
}
