import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { Reflector } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { OrchestratorConfigService } from '../../config/orchestrator-config.service.js';
import { AccessGuard } from './access.js';
import { Authenticator } from './authenticator.js';
import { parseJsonBody } from './json-body.js';
import { Metrics } from './metrics.js';
import { serveDocs } from './openapi.js';
import { PROBLEM_MEDIA_TYPE, ProblemFilter } from './problem.filter.js';
import { type Problem, problemOf } from './problem.js';
import { Shutdown } from './shutdown.js';

type Limits = Pick<OrchestratorConfigService, 'bodyLimitBytes' | 'batchBodyLimitBytes' | 'docsEnabled'>;

const BATCH_ROUTE = '/orchestrator/execute/batch';
/** An id has up to 128 characters, each up to three when it comes percent-encoded. */
const LONGEST_PARAMETER = 400;
/** For a request to arrive in full; what comes slower is an attack or broken. */
const REQUEST_TIMEOUT_MS = 60_000;

/** For `NestFactory.create(AppModule, createHttpAdapter(config), HTTP_OPTIONS)`: JSON is the only body there is. */
export const HTTP_OPTIONS = { bodyParser: false } as const;

/** The HTTP server, with the limits that Fastify takes at its start. */
export function createHttpAdapter({ bodyLimitBytes }: Limits): FastifyAdapter {
  return new FastifyAdapter({
    bodyLimit: bodyLimitBytes,
    requestTimeout: REQUEST_TIMEOUT_MS,
    routerOptions: { maxParamLength: LONGEST_PARAMETER },
    frameworkErrors: (
      error: Error & { statusCode?: number },
      request: FastifyRequest,
      reply: FastifyReply,
    ) => {
      const problem = withStatus(error.message, error.statusCode ?? 400);
      const body = JSON.stringify({ ...problem, instance: request.url.split('?', 1)[0] });
      void reply.status(problem.status).type(PROBLEM_MEDIA_TYPE).send(body);
    },
    clientErrorHandler: (error: Error & { code?: string }, socket: Socket) => answerUnreadable(error, socket),
  });
}

/** Everything about HTTP that is not a route: call it between `create` and `init` or `listen`. */
export function configureHttp(app: NestFastifyApplication, config: Limits): void {
  const fastify = app.getHttpAdapter().getInstance();
  fastify.removeAllContentTypeParsers();
  fastify.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
    try {
      done(null, parseJsonBody(body as Buffer));
    } catch (error) {
      done(error as Error);
    }
  });
  fastify.addHook('onRoute', (route) => {
    if (route.url === BATCH_ROUTE) {
      route.bodyLimit = config.batchBodyLimitBytes;
    }
  });
  const metrics = app.get(Metrics);
  fastify.addHook('onResponse', (request, reply, done) => {
    const route = request.is404 ? 'unknown' : (request.routeOptions.url ?? 'unknown');
    metrics.requested(request.method, route, reply.statusCode, reply.elapsedTime);
    done();
  });
  const shutdown = app.get(Shutdown);
  fastify.addHook('onSend', (_request, reply, _payload, done) => {
    // A connection that is kept alive would keep the server from closing until it has been idle for over a minute.
    if (shutdown.draining) {
      reply.header('connection', 'close');
    }
    done();
  });
  const guard = new AccessGuard(app.get(Authenticator), app.get(Reflector));
  // A promise costs every request a turn, so there is one only where something is waited for.
  fastify.addHook('onRequest', (request, _reply, done) => {
    const pending = guard.beforeBody(request);
    if (pending === null) {
      done();
    }
    return pending;
  });
  app.useGlobalGuards(guard);
  app.useGlobalFilters(new ProblemFilter());
  if (config.docsEnabled) {
    serveDocs(app);
  }
}

function withStatus(detail: string, status: number): Problem {
  return { ...problemOf('bad-request', detail), status };
}

const UNREADABLE: Record<string, { status: number; detail: string }> = {
  HPE_HEADER_OVERFLOW: { status: 431, detail: 'expected headers of at most 16 KiB in all, got more' },
  ERR_HTTP_REQUEST_TIMEOUT: {
    status: 408,
    detail: `expected the whole request within ${REQUEST_TIMEOUT_MS} ms`,
  },
};

/** What is no HTTP never reaches a route: the answer is written by hand, and the connection is over. */
function answerUnreadable({ code = '', message }: Error & { code?: string }, socket: Socket): void {
  if (code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
    socket.destroy();
    return;
  }
  const { status, detail } = UNREADABLE[code] ?? {
    status: 400,
    detail: `expected HTTP/1.1, got: ${message}`,
  };
  const body = JSON.stringify(withStatus(detail, status));
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    `Content-Type: ${PROBLEM_MEDIA_TYPE}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}
