/** Where uploaded LoRAs lie, each once, by the SHA-256 of its content. */
export interface UploadStore {
  /** Folder on this machine for what is still being received. */
  readonly stagingFolder: string;
  /** Takes a file that was received whole. When this returns, it survives a crash. The staged file may be gone then. */
  keep(stagedFile: string, sha256: string): Promise<void>;
  /**
   * A file of this machine with the content.
   *
   * @param bytes its length, which is checked
   * @throws InputError if it is not there
   */
  localFile(sha256: string, bytes: number, signal: AbortSignal): Promise<string>;
  /** Does nothing if there is none. */
  remove(sha256: string): Promise<void>;
}

export function uploadFileName(sha256: string): string {
  return `upload-${sha256}.safetensors`;
}
