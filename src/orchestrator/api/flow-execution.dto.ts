import { ApiProperty, ApiSchema } from '@nestjs/swagger';
import {
  Allow,
  IsDefined,
  IsIn,
  IsInt,
  IsNumber,
  IsObject,
  IsRFC3339,
  Matches,
  Max,
  Min,
  ValidateNested,
} from 'class-validator';
import { type Backoff, type FlowData, ID_PATTERN, type RetryPolicy } from '../../queue/contracts/flow.js';
import type { FlowExecutionMessage } from '../../queue/contracts/flow-execution.js';
import { DEFAULT_PRIORITY, PRIORITIES, type Priority } from '../../queue/priority.js';
import { expected, MayBeMissing } from './validation.js';

const DAY_MS = 86_400_000;
const LONGEST_DELAY_MS = 365 * DAY_MS;
const ID = expected('1 to 128 letters, digits, _ . : or -');
const whole = (from: number, to: number): ReturnType<typeof expected> =>
  expected(`a whole number from ${from} to ${to}`);

function WholeNumber(from: number, to: number): PropertyDecorator {
  return (target, key) => {
    for (const rule of [IsInt(whole(from, to)), Min(from, whole(from, to)), Max(to, whole(from, to))]) {
      rule(target, key as string);
    }
  };
}

@ApiSchema({
  name: 'Backoff',
  description: 'Wait before try n + 1: `baseMs · factor^(n−1)`, capped at `maxMs`, spread by ±`jitter`.',
})
export class BackoffRequest implements Backoff {
  @WholeNumber(0, DAY_MS)
  @ApiProperty({ type: 'integer', minimum: 0, maximum: DAY_MS, example: 1000, description: 'ms' })
  baseMs!: number;

  @MayBeMissing()
  @IsNumber({}, expected('a number from 1 to 10'))
  @Min(1, expected('a number from 1 to 10'))
  @Max(10, expected('a number from 1 to 10'))
  @ApiProperty({ type: 'number', required: false, minimum: 1, maximum: 10, example: 2 })
  factor?: number;

  @MayBeMissing()
  @WholeNumber(0, DAY_MS)
  @ApiProperty({ type: 'integer', required: false, minimum: 0, maximum: DAY_MS, description: 'ms' })
  maxMs?: number;

  @MayBeMissing()
  @IsNumber({}, expected('a number from 0 to 1'))
  @Min(0, expected('a number from 0 to 1'))
  @Max(1, expected('a number from 0 to 1'))
  @ApiProperty({ type: 'number', required: false, minimum: 0, maximum: 1, example: 0.2 })
  jitter?: number;
}

@ApiSchema({
  name: 'RetryPolicy',
  description: 'Attempts of the whole execution, and the waits between them.',
})
export class RetryRequest implements RetryPolicy {
  @WholeNumber(1, 100)
  @ApiProperty({ type: 'integer', minimum: 1, maximum: 100, example: 3 })
  maxAttempts!: number;

  @MayBeMissing()
  @IsObject(expected('an object with baseMs'))
  @ValidateNested()
  @ApiProperty({
    type: BackoffRequest,
    required: false,
    description: 'Unset = the tiers of RETRY_TIERS_MS, one after the other.',
  })
  backoff?: BackoffRequest;
}

/**
 * The body of `POST /orchestrator/execute`. `flowData` and the contents of `inputs` and `labels` are only let
 * through here: `flow-request.ts` checks them, since they may be large and have limits of their own.
 */
@ApiSchema({ name: 'FlowExecution', description: 'A flow to run, with its inputs and how to run it.' })
export class FlowExecutionRequest implements FlowExecutionMessage {
  @Matches(new RegExp(ID_PATTERN), ID)
  @ApiProperty({
    type: 'string',
    pattern: ID_PATTERN,
    example: 'flow-123',
    description: 'Which flow this is.',
  })
  flowId!: string;

  @MayBeMissing()
  @Matches(new RegExp(ID_PATTERN), ID)
  @ApiProperty({
    type: 'string',
    required: false,
    pattern: ID_PATTERN,
    description:
      "Your own identity for this request: the same id with the same body is the same execution. Unset = the `Idempotency-Key`, else the server's UUIDv7.",
  })
  executionId?: string;

  @MayBeMissing()
  @IsIn(PRIORITIES, expected(`one of ${PRIORITIES.join(', ')}`))
  @ApiProperty({ type: 'string', required: false, enum: [...PRIORITIES], default: DEFAULT_PRIORITY })
  priority?: Priority;

  @IsDefined(expected('a flow with name, version, nodes and connections'))
  @ApiProperty({ allOf: [{ $ref: '#/components/schemas/FlowData' }] })
  flowData!: FlowData;

  @MayBeMissing()
  @IsObject(expected('an object'))
  @ApiProperty({
    type: 'object',
    selfRequired: false,
    additionalProperties: true,
    description: 'What the flow works on.',
  })
  inputs?: Record<string, unknown>;

  @MayBeMissing()
  @WholeNumber(1, DAY_MS)
  @ApiProperty({
    type: 'integer',
    required: false,
    minimum: 1,
    maximum: DAY_MS,
    description: 'Longest run of one attempt, ms; bounded by EXECUTION_TIMEOUT_MAX_MS.',
  })
  timeoutMs?: number;

  @MayBeMissing()
  @IsObject(expected('an object with maxAttempts'))
  @ValidateNested()
  @ApiProperty({ type: RetryRequest, required: false })
  retry?: RetryRequest;

  @Allow()
  @ApiProperty({
    type: 'object',
    selfRequired: false,
    additionalProperties: { type: 'string', maxLength: 256 },
    maxProperties: 32,
    description: 'To find executions by: up to 32, names of 1 to 64 letters, digits, _ . / or -.',
  })
  labels?: Record<string, string>;

  @MayBeMissing()
  @WholeNumber(0, LONGEST_DELAY_MS)
  @ApiProperty({
    type: 'integer',
    required: false,
    minimum: 0,
    maximum: LONGEST_DELAY_MS,
    description: 'Not before this many ms from acceptance.',
  })
  delayMs?: number;

  @MayBeMissing()
  @IsRFC3339(expected('a time like 2030-01-31T12:00:00Z'))
  @ApiProperty({
    type: 'string',
    required: false,
    format: 'date-time',
    description: 'Still waiting by then = cancelled with the code `expired`.',
  })
  expiresAt?: string;
}

/** The one deep part of the envelope needs its classes; nothing else is copied or converted. */
export function toFlowExecutionRequest(body: object): FlowExecutionRequest {
  const request = Object.assign(new FlowExecutionRequest(), body);
  if (isPlainObject(request.retry)) {
    const retry = Object.assign(new RetryRequest(), request.retry);
    request.retry = retry;
    if (isPlainObject(retry.backoff)) {
      retry.backoff = Object.assign(new BackoffRequest(), retry.backoff);
    }
  }
  return request;
}

function isPlainObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
