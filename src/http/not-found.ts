import type { FastifyInstance } from "fastify";

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
  app.addHook("onRoute", ({ url, method }) => {
    const pattern = url.replaceAll(/[.]/g, "\\.").replaceAll(/:\w+/g, "[^/]+");
    const path = new RegExp(`^${pattern.replace("*", ".*")}$`);
    for (const name of [method].flat()) routes.push({ path, method: name });
  });
  app.setNotFoundHandler((request, reply) => {
    const [path = "", query] = request.url.split("?", 2);
    const methods = methodsAt(path);
    // A route of this very method was there and found nothing: a file that isn't.
    if (methods.length > 0 && !methods.includes(request.method)) {
      return reply
        .code(405)
        .header("allow", methods.join(", "))
        .send({ detail: "Method Not Allowed" });
    }
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
