/** Which addresses a request may reach that somebody else chose: LoRA links and webhooks. */
export interface NetworkPolicy {
  /** Without TLS anybody on the way can read a link and exchange what it gives. */
  readonly schemes: readonly ("https" | "http")[];
  /** Of hosts that `allow` does not name. */
  readonly ports: readonly number[];
  /** Addresses, CIDR ranges and hosts that are reachable though private, and at any port. */
  readonly allow: readonly string[];
}

/** Where LoRAs named by a link come from, and how much of them is kept. */
export interface LoraSourceSettings {
  readonly cacheDir: string;
  /** The least recently used files beyond this are deleted. */
  readonly cacheBytes: number;
  /** A larger file is refused. */
  readonly fileBytes: number;
  /** For one file, all attempts and redirects included. */
  readonly totalMs: number;
  /** Wait before the second attempt; doubled before each later one. */
  readonly retryMs: number;
}

export interface WebhookSettings {
  /** For one delivery, all attempts included. */
  readonly totalMs: number;
  /** Wait before the second attempt; doubled before each later one. */
  readonly retryMs: number;
}
