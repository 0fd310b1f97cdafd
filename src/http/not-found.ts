import type { FastifyInstance, FastifyReply } from "fastify";

interface KnownRoute {
  readonly path: RegExp;
  readonly method: string;
}

/**
 * What FastAPI answers where no route fits: 405 with `Allow` when the path
 * exists for another method, 307 to the path without its trailing slash, else
 * 404. Register it before the routes.
 */
export function answerUnknownRoutes(app: FastifyInstance): void {
  const routes: KnownRoute[] = [];
  /** Methods of the paths without parameters. */
  const fixed = new Map<string, string[]>();
  app.addHook("onRoute", ({ url, method }) => {
    if (!/[:*]/.test(url)) fixed.set(url, [...(fixed.get(url) ?? []), ...[method].flat()]);
    const pattern = url.replaceAll(/[.]/g, "\\.").replaceAll(/:\w+/g, "[^/]+");
    const path = new RegExp(`^${pattern.replace("*", ".*")}$`);
    for (const name of [method].flat()) routes.push({ path, method: name });
  });
  // After the key was asked for, before a body is read.
  app.addHook("preParsing", async (request, reply) => {
    const [path = ""] = request.url.split("?", 1);
    const methods = fixed.get(path);
    // The router would take the path's last part for an id, where another method has one there.
    if (request.is404 || methods === undefined || methods.includes(request.method)) return;
    return notAllowed(reply, methods.toSorted());
  });
  app.setNotFoundHandler((request, reply) => {
    const [path = "", query] = request.url.split("?", 2);
    const methods = methodsAt(path);
    // A route of this very method was there and found nothing: a file that isn't.
    if (methods.length > 0 && !methods.includes(request.method)) return notAllowed(reply, methods);
    const slashless = path.replace(/\/+$/, "");
    // A path that begins with two slashes would name another host in `Location`.
    if (slashless !== path && !slashless.startsWith("//") && methodsAt(slashless).length > 0) {
      const target = query === undefined ? slashless : `${slashless}?${query}`;
      return reply.code(307).header("location", target).send();
    }
    return reply.code(404).send({ detail: "Not Found" });
  });

  function methodsAt(path: string): string[] {
    return [...new Set(routes.filter((route) => route.path.test(path)).map(({ method }) => method))]
      .filter((method) => method !== "OPTIONS")
      .toSorted();
  }
}

function notAllowed(reply: FastifyReply, methods: readonly string[]): FastifyReply {
  return reply.code(405).header("allow", methods.join(", ")).send({ detail: "Method Not Allowed" });
}
