const mask = "***";

/** Fields, headers and query parameters whose values are secrets, in snake case. */
const secretField =
  /(?:^|[-_.])(?:access_?key(?:_id)?|api_?key|authorization|cookie|credentials?|passw(?:or)?d|secret|signature|token)$/;
/** Short names that are secrets in a query only; in an object they name other things too. */
const secretParameter = /^(?:auth|key|key-pair-id|pass|policy|pwd|sig)$/;

const urls = /\bhttps?:\/\/[^\s"'<>`\\]+/gi;
const knownTokens = /\b(hf|api_org|sk|pk|rk|ghp|gho|ghs|github_pat|glpat)([_-])[\w-]{8,}/g;
const webhookSecrets = /\b(whsec_)[\w+/=-]{8,}/g;
const schemes = /\b(bearer|basic)(\s+)[\w.~+/=-]{4,}/gi;
const assignments =
  /\b([\w.-]{0,40}?(?:api[-_]?key|authorization|passw(?:or)?d|secret|token))(["']?\s{0,4}[=:]\s{0,4})(?!["']?(?:\*\*\*|bearer\b|basic\b))("[^"]*"|'[^']*'|[^\s"',;&}]+)/gi;

/** How far into an object secrets are looked for; what lies deeper is left out. */
const deepest = 8;

/** Text for a log or an error, with tokens, keys and what is secret in URLs masked. */
export function redactText(text: string): string {
  return text
    .replaceAll(urls, (url) => maskUrl(url))
    .replaceAll(knownTokens, `$1$2${mask}`)
    .replaceAll(webhookSecrets, `$1${mask}`)
    .replaceAll(schemes, `$1$2${mask}`)
    .replaceAll(assignments, `$1$2${mask}`);
}

/** A URL for a log or an error: without user name, password, query and fragment. */
export function redactUrl(url: string | URL): string {
  const parsed = URL.parse(String(url));
  if (parsed === null) return "(not a URL)";
  const shown = redactText(`${parsed.protocol}//${parsed.host}${parsed.pathname}`);
  return shown.length <= 300 ? shown : `${shown.slice(0, 299)}…`;
}

/** A copy of anything for a log: strings masked, and values of secret names left out. */
export function redact(value: unknown): unknown {
  return redactWithin(value, []);
}

function redactWithin(value: unknown, parents: readonly object[]): unknown {
  if (typeof value === "string") return redactText(value);
  if (typeof value !== "object" || value === null) return value;
  if (parents.includes(value)) return "[circular]";
  if (parents.length >= deepest) return "[deeper]";
  if (value instanceof URL) return redactText(value.href);
  if (value instanceof Date) return value;
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  const inside = [...parents, value];
  if (value instanceof Set) return [...value].map((item) => redactWithin(item, inside));
  if (Array.isArray(value)) return value.map((item) => redactWithin(item, inside));
  return Object.fromEntries(
    fieldsOf(value).map(([name, field]) => [
      redactText(name),
      isSecretField(name) && field !== null && field !== undefined
        ? mask
        : redactWithin(field, inside),
    ]),
  );
}

function fieldsOf(value: object): [string, unknown][] {
  if (value instanceof Map) return [...value].map(([name, field]) => [String(name), field]);
  if (!(value instanceof Error)) return Object.entries(value);
  // An error's own words are not enumerable.
  const { name, message, stack, cause } = value;
  const words = Object.entries({ name, message, stack, cause });
  return [...words.filter(([, field]) => field !== undefined), ...Object.entries(value)];
}

function isSecretField(name: string): boolean {
  const snakeCase = name.replaceAll(/([a-z])([A-Z])/g, "$1_$2").replaceAll("-", "_");
  return secretField.test(snakeCase.toLowerCase());
}

function maskUrl(text: string): string {
  const url = URL.parse(text);
  if (url === null) return `${text.split("/", 2).join("/")}/${mask}`;
  const secrets = [...url.searchParams.keys()].filter(
    (name) => isSecretField(name) || secretParameter.test(name.toLowerCase()),
  );
  const hasUser = url.username !== "" || url.password !== "";
  // As it was written: a URL's own form may differ in slashes and escapes.
  if (secrets.length === 0 && !hasUser) return text;
  for (const name of secrets) url.searchParams.set(name, mask);
  if (hasUser) url.username = mask;
  url.password = "";
  return url.href;
}
