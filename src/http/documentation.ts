import swagger from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import type { FastifyInstance } from "fastify";
import type { Settings } from "../schema/settings.ts";
import { openApiDocument } from "./openapi.ts";

/** /openapi.json and a page that shows it at /docs, all of it served from here. */
export async function addDocumentation(app: FastifyInstance, settings: Settings): Promise<void> {
  const document = openApiDocument(settings.limits);
  await app.register(swagger, {
    mode: "static",
    // The plugin's types know OpenAPI 3.0; what it does with the document is serve it.
    specification: { document: document as never },
  });
  await app.register(swaggerUi, { routePrefix: "/docs", staticCSP: true });
  app.get("/openapi.json", async () => document);
}
