const mask = "***";

/** Ends of query parameters' names whose values are secrets, in snake case. */
const secretEnding =
  /(?:^|[-_.])(?:access_?key(?:_id)?|api_?key|authorization|cookie|credentials?|passw(?:or)?d|secret|signature|token)$/;
/** The same for whole names: as an ending each would stand for other things too. */
const secretName = /^(?:auth|key|key-pair-id|pass|policy|pwd|sig)$/;

const urls = /\bhttps?:\/\/[^\s"'<>`\\]+/gi;
const knownTokens = /\b(hf|api_org|sk|pk|rk|ghp|gho|ghs|github_pat|glpat)([_-])[\w-]{8,}/g;
const webhookSecrets = /\b(whsec_)[\w+/=-]{8,}/g;
const schemes = /\b(bearer|basic)(\s+)[\w.~+/=-]{4,}/gi;
const assignments =
  /\b([\w.-]{0,40}?(?:api[-_]?key|authorization|passw(?:or)?d|secret|token))(["']?\s{0,4}[=:]\s{0,4})(?!["']?(?:\*\*\*|bearer\b|basic\b))("[^"]*"|'[^']*'|[^\s"',;&}]+)/gi;

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

function isSecret(name: string): boolean {
  const snakeCase = name.replaceAll(/([a-z])([A-Z])/g, "$1_$2").replaceAll("-", "_");
  return secretEnding.test(snakeCase.toLowerCase()) || secretName.test(name.toLowerCase());
}

function maskUrl(text: string): string {
  const url = URL.parse(text);
  if (url === null) return `${text.split("/", 2).join("/")}/${mask}`;
  const secrets = [...url.searchParams.keys()].filter(isSecret);
  const hasUser = url.username !== "" || url.password !== "";
  // As it was written: a URL's own form may differ in slashes and escapes.
  if (secrets.length === 0 && !hasUser) return text;
  for (const name of secrets) url.searchParams.set(name, mask);
  if (hasUser) url.username = mask;
  url.password = "";
  return url.href;
}
