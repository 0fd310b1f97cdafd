import { InputError } from "../errors.ts";
import { TransferError } from "../net/errors.ts";
import { redactUrl } from "../net/redact.ts";

/** Whether a login may help: hubs hide private files behind 404. */
export function isNoAccess(error: unknown): error is TransferError {
  return error instanceof TransferError && [401, 403, 404].includes(error.status ?? 0);
}

/** What to do about a file that the other side does not give. */
export function noAccess(
  url: string,
  cause: TransferError,
  { isHub, sentToken }: { isHub: boolean; sentToken: boolean },
): InputError {
  const what =
    cause.status === 404
      ? "is not there (HTTP status 404)"
      : `needs a login (HTTP status ${cause.status})`;
  return new InputError(`${redactUrl(url)} ${what}. ${remedy(cause.status, isHub, sentToken)}`, {
    cause,
  });
}

function remedy(status: number | undefined, isHub: boolean, sentToken: boolean): string {
  if (isHub && sentToken) {
    return "Check the link, that hf_token may read this repository, and that its account has accepted the conditions on the repository's page.";
  }
  if (isHub) {
    return "Check the link; for a private or gated repository send hf_token (or set HF_TOKEN), of an account that may read it and has accepted its conditions.";
  }
  return status === 404
    ? "Check the link."
    : "Put the site's own key into the link, or download the file and give its path.";
}
