import { isIP } from "node:net";
import { z } from "zod";

/** An address, a CIDR range, a host name, or `.example.com` for every name under it. */
const allowedEntry = z.string().refine((entry) => {
  const [address, prefix, ...rest] = entry.split("/");
  const family = isIP(address ?? "");
  if (family !== 0 && prefix !== undefined) {
    return (
      rest.length === 0 && /^\d{1,3}$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128)
    );
  }
  return family !== 0 || isHost(entry);
}, "must be an address, a CIDR range such as 10.0.0.0/8, or a host name in lower case");

/** A host name, or `.example.com` for every name under it. */
export const hostEntry = z.string().refine(isHost, "must be a host name in lower case");

function isHost(entry: string): boolean {
  return /^\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(entry);
}

/** Which addresses a request may reach that somebody else chose: LoRA links and webhooks. */
export const networkPolicySchema = z.strictObject({
  /** Without TLS anybody on the way can read a link and exchange what it gives. */
  schemes: z.array(z.enum(["https", "http"])).default(["https"]),
  /** When not null, only these hosts, redirects included. */
  hosts: z.array(hostEntry).nullable().default(null),
  ports: z.array(z.int().min(1).max(65_535)).default([443, 80, 8080, 8443]),
  /** Reachable though private, and at any port. */
  allow: z.array(allowedEntry).default([]),
});
export type NetworkPolicy = Readonly<z.output<typeof networkPolicySchema>>;

const gibibyte = 2 ** 30;

/** Where LoRAs named by a link come from, and how much of them is kept. */
export const loraSourceSettingsSchema = z.strictObject({
  cacheDir: z.string().min(1).default("/tmp/lora_cache"),
  /** The least recently used files beyond this are deleted. */
  cacheBytes: z
    .int()
    .min(0)
    .default(50 * gibibyte),
  /** A larger file is refused. */
  fileBytes: z
    .int()
    .min(1)
    .default(8 * gibibyte),
  /** For one file, all attempts and redirects included. */
  totalMs: z.int().min(1).default(3_600_000),
  /** Wait before the second attempt; doubled before each later one. */
  retryMs: z.int().min(1).default(1000),
  /** HF_ENDPOINT: the hub or a mirror of it. The only place that a Hugging Face token is sent to. */
  hubEndpoint: z.url({ protocol: /^https?$/ }).default("https://huggingface.co"),
  network: networkPolicySchema.prefault({}),
});
export type LoraSourceSettings = Readonly<z.output<typeof loraSourceSettingsSchema>>;

export const webhookSettingsSchema = z.strictObject({
  /** For one delivery, all attempts included. */
  totalMs: z.int().min(1).default(300_000),
  /** Wait before the second attempt; doubled before each later one. */
  retryMs: z.int().min(1).default(2000),
  network: networkPolicySchema.prefault({}),
});
export type WebhookSettings = Readonly<z.output<typeof webhookSettingsSchema>>;
