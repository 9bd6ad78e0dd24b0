import { ApiProperty, ApiSchema } from '@nestjs/swagger';
import { preview } from '../../queue/contracts/schema-problems.js';
import { EXECUTION_STATES, type ExecutionState } from '../../store/transitions.js';
import type { BatchOutcome } from '../orchestrator.service.js';
import { ProblemView } from './api-docs.js';
import { FlowExecutionRequest } from './flow-execution.dto.js';
import { type FieldProblem, invalidRequest, type Problem } from './problem.js';

@ApiSchema({ name: 'Batch' })
export class BatchRequest {
  @ApiProperty({ type: FlowExecutionRequest, isArray: true, minItems: 1 })
  items!: FlowExecutionRequest[];
}

@ApiSchema({ name: 'BatchItem', description: 'The answer that this item would have got on its own.' })
export class BatchItemView {
  @ApiProperty({ type: 'integer', minimum: 0, description: 'Its place in the request.' })
  index!: number;
  @ApiProperty({ type: 'integer', example: 202 })
  status!: number;
  @ApiProperty({ type: 'string', required: false })
  executionId?: string;
  @ApiProperty({ type: 'string', enum: [...EXECUTION_STATES], required: false })
  state?: ExecutionState;
  @ApiProperty({ type: ProblemView, required: false })
  problem?: Problem;
}

@ApiSchema({ name: 'BatchAnswer' })
export class BatchView {
  @ApiProperty({ type: BatchItemView, isArray: true })
  items!: BatchItemView[];
}

/** The items of a batch, each still unchecked. @throws ProblemException 422 */
export function readBatch(body: unknown, limit: number): unknown[] {
  const { items, ...others } = (typeof body === 'object' && body !== null ? body : {}) as { items?: unknown };
  const problems: FieldProblem[] = Object.keys(others).map((field) => ({
    pointer: `/${field}`,
    message: `expected only the field items, got the unknown field ${preview(field)}`,
  }));
  if (!Array.isArray(items) || items.length === 0) {
    const got = items === undefined ? preview(body) : preview(items);
    problems.push({ pointer: '/items', message: `expected an array of 1 to ${limit} requests, got ${got}` });
  } else if (items.length > limit) {
    const message = `expected at most ${limit} requests, got ${items.length}`;
    problems.push({ pointer: '/items', message, limit: 'batchLimitItems' });
  }
  if (problems.length > 0) {
    throw invalidRequest(problems);
  }
  return items as unknown[];
}

export function toBatchView(outcomes: BatchOutcome[]): BatchView {
  return { items: outcomes.map(toItemView) };
}

function toItemView(outcome: BatchOutcome, index: number): BatchView['items'][number] {
  return 'problem' in outcome
    ? { index, status: outcome.problem.status, problem: outcome.problem }
    : { index, status: 202, executionId: outcome.submitted.executionId, state: outcome.submitted.status };
}
