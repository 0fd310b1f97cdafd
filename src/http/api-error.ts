import type { ApiErrorBody } from "../wire/answers.ts";

type ApiErrorDetails = ApiErrorBody["detail"]["error"]["details"];

/**
 * A request that is refused, in the reference's shape:
 * `{"detail": {"error": {"code", "message", "details"}}}`.
 */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;
  readonly code: string;
  readonly details: ApiErrorDetails;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    code: string,
    message: string,
    details: ApiErrorDetails = {},
    headers: Readonly<Record<string, string>> = {},
  ) {
    super(message);
    this.status = status;
    this.code = code;
    this.details = details;
    this.headers = headers;
  }

  body(): ApiErrorBody {
    const { code, message, details } = this;
    return { detail: { error: { code, message, details } } };
  }
}

export function requestNotFound(id: string): ApiError {
  return new ApiError(
    404,
    "REQUEST_NOT_FOUND",
    "There is no request with this id: it was never accepted here, was deleted, or is older than the server keeps results.",
    { request_id: id },
  );
}

export function uploadNotFound(id: string): ApiError {
  return new ApiError(
    404,
    "LORA_NOT_FOUND",
    "There is no uploaded LoRA with this id: it was never uploaded with this key, or was deleted.",
    { id },
  );
}
