import { InputError } from "../errors.ts";
import { TransferError } from "../net/errors.ts";
import { redactUrl } from "../net/redact.ts";
import { type SafeResponse, statusError } from "../net/safe-fetch.ts";

interface Asked {
  readonly url: string;
  readonly endpoint: string;
  readonly repository: string;
  readonly revision: string;
  readonly hasToken: boolean;
}

const login = "set HF_TOKEN, or run `hf auth login`";

/**
 * The error for an answer that is not a success: InputError where a person has
 * to do something, TransferError where another attempt may go well.
 * Codes: https://github.com/huggingface/huggingface_hub, utils/_http.py
 */
export function hubError(response: SafeResponse, asked: Asked): Error {
  const { url, endpoint, repository, revision, hasToken } = asked;
  const { status, header, hops } = response;
  if (status === 429) {
    const { retryAfterMs } = statusError(url, response);
    const when = retryAfterMs === undefined ? "later" : `in ${Math.ceil(retryAfterMs / 1000)} s`;
    return new TransferError(
      `the hub asks for fewer requests (HTTP status 429). Try again ${when}${hasToken ? "" : `; ${login} for higher limits`}.`,
      { transient: true, status, retryAfterMs },
    );
  }
  if (![401, 403, 404].includes(status)) return statusError(url, response);
  if (hops.at(-1)?.url.origin !== new URL(endpoint).origin) {
    // Links to the storage hold for a while only: the next attempt gets a new one.
    return new TransferError(
      `the storage that ${redactUrl(url)} redirects to answered with HTTP status ${status}. Try again.`,
      { transient: true, status },
    );
  }
  const code = header("x-error-code");
  const page = `${endpoint.replace(/\/+$/, "")}/${repository}`;
  if (code === "GatedRepo") {
    return new InputError(
      `${repository} is gated (HTTP status ${status}): log in at ${page} and accept its conditions, ` +
        (hasToken
          ? "with the account of your token; a fine-grained token also needs the right to read gated repositories."
          : `then ${login} with a token of that account.`),
    );
  }
  if (code === "RevisionNotFound") {
    return new InputError(
      `${repository} has no revision ${JSON.stringify(revision)} (HTTP status ${status}). See ${page}/tree/main for those there are, and give one with --revision.`,
    );
  }
  if (code === "EntryNotFound") {
    return new InputError(
      `${redactUrl(url)} is not there (HTTP status ${status}), though the repository lists it. Try again; if it stays so, the hub or mirror (HF_ENDPOINT) is not whole.`,
    );
  }
  if (status === 401 && hasToken) {
    return new InputError(
      `the hub does not accept the token (HTTP status 401). Make another one on its page of access tokens and set HF_TOKEN, or unset it: public models need none.`,
    );
  }
  if (status === 403) {
    return new InputError(
      `the hub refuses ${repository} (HTTP status 403). Open ${page} to see whether its conditions must be accepted, and ${hasToken ? "see that the token may read it" : login}.`,
    );
  }
  return new InputError(
    `${repository} is not on the hub (HTTP status ${status}); a private repository looks like this too. Check HF_ENDPOINT, and ` +
      (hasToken ? "that the account of your token may read it." : `for a private one ${login}.`),
  );
}
