/** The origins that a token of the hub may be sent to. */
export function tokenOrigins(hubEndpoint: string): string[] {
  const { origin } = new URL(hubEndpoint);
  return origin === "https://huggingface.co" ? [origin, "https://www.huggingface.co"] : [origin];
}

/** A repository of the hub at one of its revisions. */
export interface HubRepository {
  readonly hubEndpoint: string;
  readonly repository: string;
  readonly revision: string;
}

/** Where one file of a repository is. */
export function hubFileUrl(
  { hubEndpoint, repository, revision }: HubRepository,
  file: string,
): string {
  const path = file.split("/").map(encodeURIComponent).join("/");
  return `${withoutSlash(hubEndpoint)}/${repository}/resolve/${encodeURIComponent(revision)}/${path}`;
}

/** Where the hub says what a repository holds. */
export function hubListUrl({ hubEndpoint, repository, revision }: HubRepository): string {
  return `${withoutSlash(hubEndpoint)}/api/models/${repository}/revision/${encodeURIComponent(revision)}`;
}

function withoutSlash(url: string): string {
  return url.replace(/\/+$/, "");
}
