import { createReadStream } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { DocumentBuilder, type OpenAPIObject, SwaggerModule } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { flowDataSchema } from '../../queue/contracts/flow.js';
import { API_KEY_SCHEME, BEARER_SCHEME } from './access.js';
import { EXECUTIONS_TAG, OPERATIONS_TAG } from './api-docs.js';
import { notFound } from './problem.js';
import { VERSION } from './version.js';

/** The OpenAPI document of every route that the application has. */
export function openApiDocument(app: NestFastifyApplication): OpenAPIObject {
  const info = new DocumentBuilder()
    .setOpenAPIVersion('3.1.0')
    .setTitle('flow-orchestrator')
    .setDescription(
      'Runs flows on a pool of workers. Errors are problem+json (RFC 9457) and say what was expected, what came and where.',
    )
    .setVersion(VERSION)
    .setLicense('MIT', 'https://spdx.org/licenses/MIT.html')
    .addBearerAuth({ type: 'http', scheme: 'bearer', description: 'An API key or a JWT' }, BEARER_SCHEME)
    .addApiKey({ type: 'apiKey', in: 'header', name: 'X-API-Key' }, API_KEY_SCHEME)
    .addTag(EXECUTIONS_TAG, 'Submit flows, follow them, cancel them, try them again')
    .addTag(OPERATIONS_TAG, 'Dead letters, workers, health, metrics')
    .build();
  const document = SwaggerModule.createDocument(app, info);
  // OpenAPI 3.1 takes JSON Schema as it is: the flow's shape is written once, where it is checked.
  Object.assign(document.components!.schemas!, { FlowData: structuredClone(flowDataSchema) });
  return document;
}

const PAGE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <title>flow-orchestrator: API</title>
    <link rel="stylesheet" href="/docs/swagger-ui.css">
    <link rel="icon" href="/docs/favicon-32x32.png">
  </head>
  <body>
    <div id="swagger-ui"></div>
    <script src="/docs/swagger-ui-bundle.js"></script>
    <script src="/docs/start.js"></script>
  </body>
</html>
`;
const START = `SwaggerUIBundle({ url: '/docs-json', dom_id: '#swagger-ui', deepLinking: true, tryItOutEnabled: true });\n`;

const ASSETS: Record<string, string> = {
  'swagger-ui.css': 'text/css',
  'swagger-ui-bundle.js': 'text/javascript',
  'favicon-32x32.png': 'image/png',
};

/**
 * Serves `/docs` and `/docs-json`. `SwaggerModule.setup` would need @fastify/static for the three files that the
 * page is made of.
 */
export function serveDocs(app: NestFastifyApplication): void {
  const adapter = app.getHttpAdapter();
  const folder = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));
  let document: string | undefined;

  adapter.get('/docs-json', (_: FastifyRequest, reply: FastifyReply) => {
    document ??= JSON.stringify(openApiDocument(app));
    return reply.type('application/json; charset=utf-8').send(document);
  });
  adapter.get('/docs', (_: FastifyRequest, reply: FastifyReply) =>
    reply.type('text/html; charset=utf-8').send(PAGE),
  );
  adapter.get('/docs/start.js', (_: FastifyRequest, reply: FastifyReply) =>
    reply.type('text/javascript; charset=utf-8').send(START),
  );
  adapter.get('/docs/:file', (request: FastifyRequest, reply: FastifyReply) => {
    const { file } = request.params as { file: string };
    const type = Object.hasOwn(ASSETS, file) ? ASSETS[file] : undefined;
    if (type === undefined) {
      throw notFound('page', file);
    }
    return reply.type(type).send(createReadStream(join(folder, file)));
  });
}
