import { applyDecorators } from '@nestjs/common';
import { ApiResponse, ApiProperty, ApiSchema } from '@nestjs/swagger';
import {
  type FieldProblem,
  invalidParameter,
  invalidRequest,
  nothingAccepted,
  notFound,
  type Problem,
  ProblemException,
  unknownOutcome,
} from './problem.js';

/** What the controllers share to describe themselves. */

export const EXECUTIONS_TAG = 'executions';
export const OPERATIONS_TAG = 'operations';

@ApiSchema({ name: 'FieldProblem' })
export class FieldProblemView implements FieldProblem {
  @ApiProperty({
    type: 'string',
    required: false,
    example: '/flowData/nodes/0/type',
    description: 'JSON pointer into the body.',
  })
  pointer?: string;
  @ApiProperty({ type: 'string', required: false, description: 'Name of a query parameter.' })
  parameter?: string;
  @ApiProperty({ type: 'string', required: false, description: 'Name of a header.' })
  header?: string;
  @ApiProperty({
    type: 'string',
    example: 'expected a value, got nothing',
    description: 'What was expected and what came.',
  })
  message!: string;
  @ApiProperty({ type: 'string', required: false, description: 'The limit that was passed.' })
  limit?: string;
}

@ApiSchema({ name: 'Problem', description: 'What went wrong, by RFC 9457.' })
export class ProblemView implements Problem {
  @ApiProperty({ type: 'string', example: 'urn:flow-orchestrator:problem:invalid-request' })
  type!: string;
  @ApiProperty({ type: 'string' })
  title!: string;
  @ApiProperty({ type: 'integer', example: 422 })
  status!: number;
  @ApiProperty({ type: 'string' })
  detail!: string;
  @ApiProperty({ type: 'string', required: false, example: '/orchestrator/execute' })
  instance?: string;
  @ApiProperty({ type: FieldProblemView, isArray: true, required: false })
  errors?: FieldProblemView[];
}

const MEANINGS = {
  400: 'A parameter or a header is not valid, or the body is not JSON',
  401: 'Credentials are missing or not valid',
  403: 'The client lacks the scope that this route needs',
  404: 'There is no such thing',
  409: 'Its state does not allow this',
  413: 'The body is too large; the limit is named',
  415: 'The body has to be application/json',
  422: 'The body is not valid; `errors` points at every fault',
  503: 'Not now: broker or database away, backlog full, or shutting down; the same request may be sent again',
} as const;
export type DocumentedStatus = keyof typeof MEANINGS;

/** What each status looks like on the routes that take flows and show executions; other routes bring their own. */
const EXAMPLES: Record<Exclude<DocumentedStatus, 401 | 403>, ProblemException[]> = {
  400: [
    new ProblemException(
      'malformed-body',
      'expected JSON, got 12 characters that are not: Unterminated string in JSON at position 12',
    ),
  ],
  404: [notFound('execution', 'exec-456')],
  409: [
    new ProblemException(
      'state-conflict',
      'expected an execution that has not ended, got "exec-456", which is completed',
    ),
  ],
  413: [new ProblemException('too-large', 'expected a body of at most 1048576 bytes, got a larger one')],
  415: [
    new ProblemException(
      'unsupported-media-type',
      'expected Content-Type application/json, got "text/plain"',
    ),
  ],
  422: [invalidRequest([{ pointer: '/flowData/nodes/0/type', message: 'expected a value, got nothing' }])],
  503: [
    nothingAccepted('the broker is away: connect ECONNREFUSED 127.0.0.1:5672', 5),
    unknownOutcome('the database cannot be reached', 'executionId "exec-456"', 2),
  ],
};

/** For the routes that take no flows in. */
export const DATABASE_AWAY = new ProblemException(
  'unavailable',
  'the database cannot be reached; nothing is lost, send the same request again',
);
export const BAD_LIMIT = invalidParameter([
  { parameter: 'limit', message: 'expected a whole number from 1 to 200, got 500' },
]);

const RETRY_AFTER = {
  'Retry-After': { description: 'Seconds after which to try again', schema: { type: 'integer' as const } },
};

const CHALLENGE = { 'WWW-Authenticate': { description: 'By RFC 6750', schema: { type: 'string' as const } } };

/**
 * The problems a route may answer with: a status, or examples of the route's own in its place. Without an example
 * for each, the pages would show one and the same for all.
 */
export function ApiProblems(...given: (keyof typeof EXAMPLES | ProblemException)[]): MethodDecorator {
  const problems = given.flatMap((one) => (typeof one === 'number' ? EXAMPLES[one] : [one]));
  const statuses = new Set(problems.map(({ problem }) => problem.status as DocumentedStatus));
  return applyDecorators(
    ...[...statuses].map((status) =>
      ApiResponse({
        status,
        description: MEANINGS[status],
        ...(status === 503 && { headers: RETRY_AFTER }),
        ...((status === 401 || status === 403) && { headers: CHALLENGE }),
        content: {
          'application/problem+json': {
            schema: { $ref: '#/components/schemas/Problem' },
            examples: examplesOf(problems.filter(({ problem }) => problem.status === status)),
          },
        },
      }),
    ),
  );
}

function examplesOf(problems: ProblemException[]): Record<string, { summary: string; value: Problem }> {
  return Object.fromEntries(
    problems.map(({ problem }, index) => [
      `${problem.status}-${index + 1}`,
      { summary: problem.detail, value: problem },
    ]),
  );
}
