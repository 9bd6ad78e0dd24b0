import { applyDecorators } from '@nestjs/common';
import { ApiResponse, ApiProperty, ApiSchema } from '@nestjs/swagger';
import type { FieldProblem, Problem } from './problem.js';

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
  404: 'There is no such thing',
  409: 'Its state does not allow this',
  413: 'The body is too large; the limit is named',
  415: 'The body has to be application/json',
  422: 'The body is not valid; `errors` points at every fault',
  503: 'Not now: broker or database away, backlog full, or shutting down. Nothing was accepted',
} as const;
export type DocumentedStatus = keyof typeof MEANINGS;

const RETRY_AFTER = {
  'Retry-After': { description: 'Seconds after which to try again', schema: { type: 'integer' as const } },
};

/** The problems a route may answer with. */
export function ApiProblems(...statuses: DocumentedStatus[]): MethodDecorator {
  return applyDecorators(
    ...statuses.map((status) =>
      ApiResponse({
        status,
        description: MEANINGS[status],
        ...(status === 503 && { headers: RETRY_AFTER }),
        content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
      }),
    ),
  );
}
