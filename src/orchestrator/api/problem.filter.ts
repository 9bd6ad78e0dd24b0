import { type ArgumentsHost, Catch, type ExceptionFilter, HttpException, Logger } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Problem, ProblemException, type ProblemKind, problemOf } from './problem.js';

export const PROBLEM_MEDIA_TYPE = 'application/problem+json; charset=utf-8';

/** Seconds after which a client may try again when the store or the broker is away. */
export const AWAY_RETRY_AFTER_S = 2;

/** Failures of the rooms below that mean "not now". By name: some belong to folders that know nothing of HTTP. */
const UNAVAILABLE: Record<string, string> = {
  StoreUnavailableError: 'the database cannot be reached',
  BrokerAwayError: 'the message broker cannot be reached',
  PublishTimeoutError: 'the message broker did not confirm in time',
  PublishRefusedError: 'the message broker refused the message',
};

/** What is away, of an error that means no more than that; else null. */
export function awayReason(error: unknown): string | null {
  const name = error instanceof Error ? error.name : '';
  return Object.hasOwn(UNAVAILABLE, name) ? UNAVAILABLE[name]! : null;
}

/** Turns whatever was thrown into problem+json; what nobody foresaw becomes a 500 without internals, and a log line. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  private readonly logger = new Logger(ProblemFilter.name);

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const request = http.getRequest<FastifyRequest>();
    const reply = http.getResponse<FastifyReply>();
    if (reply.sent) {
      return;
    }
    const { problem, retryAfterS, challenge } = explain(error, this.logger, {
      bodyLimitBytes: request.routeOptions?.bodyLimit,
      contentType: request.headers['content-type'],
    });
    if (retryAfterS !== undefined) {
      reply.header('Retry-After', String(retryAfterS));
    }
    if (challenge !== undefined) {
      reply.header('WWW-Authenticate', challenge);
    }
    const [instance] = request.url.split('?', 1);
    reply
      .status(problem.status)
      .type(PROBLEM_MEDIA_TYPE)
      .send(JSON.stringify({ ...problem, instance }));
  }
}

interface RequestFacts {
  bodyLimitBytes?: number;
  contentType?: string;
}

/** The problem behind an error, and when to try again. What is unforeseen is logged here, with its stack. */
export function explain(
  error: unknown,
  logger: Logger,
  facts: RequestFacts = {},
): { problem: Problem; retryAfterS?: number; challenge?: string } {
  if (error instanceof ProblemException) {
    return { problem: error.problem, retryAfterS: error.retryAfterS, challenge: error.challenge };
  }
  const name = error instanceof Error ? error.name : '';
  const away = awayReason(error);
  if (away !== null) {
    logger.warn(`${name}: ${(error as Error).message}`);
    const detail = `${away}; nothing is lost, send the same request again`;
    return { problem: problemOf('unavailable', detail), retryAfterS: AWAY_RETRY_AFTER_S };
  }
  if (name === 'InvalidCursorError') {
    const message = 'expected the nextCursor of the page before, got something else';
    return { problem: problemOf('invalid-parameter', message, [{ parameter: 'cursor', message }]) };
  }
  if (error instanceof HttpException && error.getStatus() < 500) {
    return { problem: ofHttp(error, facts) };
  }
  logger.error(error instanceof Error ? (error.stack ?? error.message) : String(error));
  return { problem: problemOf('internal', 'an unexpected error; the log of this instance has the details') };
}

/** What Nest and Fastify refuse by themselves: unknown routes, bodies that are too large or of another type. */
function ofHttp(error: HttpException, { bodyLimitBytes, contentType }: RequestFacts): Problem {
  switch (error.getStatus()) {
    case 404:
      return problemOf('not-found', `${error.message}; GET /docs-json lists every route`);
    case 413:
      return problemOf('too-large', tooLarge(bodyLimitBytes));
    case 415:
      return problemOf(
        'unsupported-media-type',
        `expected Content-Type application/json, got ${contentType ? JSON.stringify(contentType) : 'none'}`,
      );
    default: {
      const kind: ProblemKind = 'bad-request';
      return { ...problemOf(kind, error.message), status: error.getStatus() };
    }
  }
}

function tooLarge(limitBytes: number | undefined): string {
  return limitBytes === undefined
    ? 'the body is larger than this route takes'
    : `expected a body of at most ${limitBytes} bytes, got a larger one`;
}
