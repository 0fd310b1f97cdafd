/** A URL as it may be shown: without user, password, query and fragment, where tokens travel. */
export function redactUrl(text: string): string {
  if (!URL.canParse(text)) return "(no URL)";
  const { protocol, host, pathname, search } = new URL(text);
  return `${protocol}//${host}${pathname}${search === "" ? "" : "?…"}`;
}

const secrets = [
  // Hugging Face tokens, our API keys, bearer tokens, user and password in URLs, secret-looking queries.
  [/\bhf_[A-Za-z0-9]{8,}/g, "hf_***"],
  [/\brtk_[\w-]{8,}/g, "rtk_***"],
  [/\b(Bearer|Basic) +[\w.~+/=-]+/gi, "$1 ***"],
  [/\b([a-z][a-z0-9+.-]*:\/\/)[^\s/@]+@/gi, "$1***@"],
  [/([?&][\w.-]*(?:token|key|secret|signature|password|auth|sig)[\w.-]*=)[^&\s"']+/gi, "$1***"],
] as const;

/** Text without the secrets that it may hold. */
export function redactText(text: string): string {
  return secrets.reduce((kept, [pattern, mask]) => kept.replaceAll(pattern, mask), text);
}
