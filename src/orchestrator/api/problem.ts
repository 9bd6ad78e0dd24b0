import { HttpException } from '@nestjs/common';
import type { AccessScope } from '../../config/config.schema.js';

/** One fault of a request: where it is, and what was expected and what came. */
export interface FieldProblem {
  /** JSON pointer (RFC 6901) into the body. */
  pointer?: string;
  /** Name of a query parameter or path parameter. */
  parameter?: string;
  /** Name of a header. */
  header?: string;
  message: string;
  /** The limit that was passed, where that is the fault. */
  limit?: string;
}

/** The body of every answer from 400 on, by RFC 9457. */
export interface Problem {
  /** A stable name of the kind of problem: `urn:flow-orchestrator:problem:<kind>`. */
  type: string;
  title: string;
  status: number;
  detail: string;
  /** The path that was asked for. */
  instance?: string;
  errors?: FieldProblem[];
}

const KINDS = {
  'malformed-body': { status: 400, title: 'The body cannot be read' },
  'invalid-parameter': { status: 400, title: 'A parameter or header is not valid' },
  'bad-request': { status: 400, title: 'The request cannot be read' },
  unauthorized: { status: 401, title: 'Who is asking is not known' },
  forbidden: { status: 403, title: 'This client may not do this' },
  'not-found': { status: 404, title: 'There is no such thing' },
  'state-conflict': { status: 409, title: 'Its state does not allow this' },
  'too-large': { status: 413, title: 'The request is too large' },
  'unsupported-media-type': { status: 415, title: 'The body has to be JSON' },
  'invalid-request': { status: 422, title: 'The request is not valid' },
  'id-conflict': { status: 422, title: 'This id stands for another request' },
  internal: { status: 500, title: 'Something went wrong here' },
  unavailable: { status: 503, title: 'Not now' },
} as const;
export type ProblemKind = keyof typeof KINDS;

const TYPE_PREFIX = 'urn:flow-orchestrator:problem:';

interface Extras {
  errors?: FieldProblem[];
  /** Seconds after which the same request may succeed. */
  retryAfterS?: number;
  /** Value of the header `WWW-Authenticate`. */
  challenge?: string;
}

/** A failure with its answer. Throw it from anywhere below a controller. */
export class ProblemException extends HttpException {
  readonly retryAfterS: number | undefined;
  readonly challenge: string | undefined;
  readonly problem: Problem;

  constructor(kind: ProblemKind, detail: string, { errors, retryAfterS, challenge }: Extras = {}) {
    super(detail, KINDS[kind].status);
    this.problem = problemOf(kind, detail, errors);
    this.retryAfterS = retryAfterS;
    this.challenge = challenge;
  }
}

export function problemOf(kind: ProblemKind, detail: string, errors?: FieldProblem[]): Problem {
  return { type: TYPE_PREFIX + kind, ...KINDS[kind], detail, ...(errors && { errors }) };
}

/** 404 for something that was looked up by id. */
export function notFound(what: string, id: string): ProblemException {
  return new ProblemException('not-found', `there is no ${what} ${JSON.stringify(id.slice(0, 128))}`);
}

const CHALLENGE = 'Bearer realm="flow-orchestrator"';

/** 401. @param code by RFC 6750, when credentials came */
export function unauthorized(detail: string, code?: 'invalid_token'): ProblemException {
  const challenge = code === undefined ? CHALLENGE : `${CHALLENGE}, error="${code}"`;
  return new ProblemException('unauthorized', detail, { challenge });
}

/** 403 for a client that lacks a scope. */
export function forbidden(scope: AccessScope | 'none'): ProblemException {
  return new ProblemException('forbidden', `expected a client with the scope "${scope}", got one without`, {
    challenge: `${CHALLENGE}, error="insufficient_scope", scope="${scope}"`,
  });
}

/** 503 before anything was written. */
export function nothingAccepted(reason: string, retryAfterS: number): ProblemException {
  const detail = `${reason}. Nothing was accepted: send it again in ${retryAfterS} s`;
  return new ProblemException('unavailable', detail, { retryAfterS });
}

/**
 * 503 for a write that failed and may have been done all the same.
 * @param identity what makes it harmless to send it again
 */
export function unknownOutcome(reason: string, identity: string, retryAfterS: number): ProblemException {
  const detail =
    `${reason}. It is unknown whether the request was accepted: ` +
    `send it again with the ${identity}, and it is one execution either way`;
  return new ProblemException('unavailable', detail, { retryAfterS });
}

/** 422 with every fault that was found in a body. */
export function invalidRequest(errors: FieldProblem[]): ProblemException {
  return new ProblemException('invalid-request', summary('the body', errors), { errors });
}

/** 400 with every fault that was found in query parameters or headers. */
export function invalidParameter(errors: FieldProblem[]): ProblemException {
  return new ProblemException('invalid-parameter', summary('the request', errors), { errors });
}

function summary(what: string, errors: FieldProblem[]): string {
  const [first] = errors;
  const place = first?.pointer ?? first?.parameter ?? first?.header ?? '';
  const more = errors.length > 1 ? `, and ${errors.length - 1} more (see errors)` : '';
  return `${what} has ${errors.length === 1 ? 'a fault' : `${errors.length} faults`}: ${place}${place && ': '}${first?.message}${more}`;
}
