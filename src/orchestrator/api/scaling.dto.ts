import { ApiProperty, ApiSchema } from '@nestjs/swagger';
import { IsInt, IsString, Length, Matches, Max, Min, ValidateIf } from 'class-validator';
import { WORKER_DRIVERS, type WorkerDriver } from '../../config/config.schema.js';
import type { LoggedDecision } from '../../scaling/decision-log.js';
import { LeaderView } from './health.dto.js';
import { expected, MayBeMissing } from './validation.js';

const MOST_WORKERS = 10_000;
const COUNT = expected(`a whole number from 0 to ${MOST_WORKERS}`);
const COUNT_OR_NULL = expected(`a whole number from 0 to ${MOST_WORKERS}, or null`);
const NAME = expected('the name of a worker class');
const REASON = expected('a text of 1 to 500 characters');

class OfClass {
  @MayBeMissing()
  @IsString(NAME)
  @Matches(/^[a-z0-9-]{1,32}$/, NAME)
  @ApiProperty({
    type: 'string',
    required: false,
    example: 'default',
    description: 'Which class; unset = the only one there is.',
  })
  workerClass?: string;
}

@ApiSchema({ name: 'ScalingClassRequest' })
export class ScalingClassRequest extends OfClass {}

@ApiSchema({ name: 'ManualScalingRequest' })
export class ManualScalingRequest extends OfClass {
  @IsInt(COUNT)
  @Min(0, COUNT)
  @Max(MOST_WORKERS, COUNT)
  @ApiProperty({ type: 'integer', minimum: 0, example: 6, description: 'How many workers there shall be.' })
  desired!: number;

  @MayBeMissing()
  @IsString(REASON)
  @Length(1, 500, REASON)
  @ApiProperty({ type: 'string', required: false, minLength: 1, maxLength: 500, example: 'month end' })
  reason?: string;
}

@ApiSchema({ name: 'ScalingBoundsRequest' })
export class ScalingBoundsRequest extends OfClass {
  @ValidateIf((_, value) => value !== null)
  @IsInt(COUNT_OR_NULL)
  @Min(0, COUNT_OR_NULL)
  @Max(MOST_WORKERS, COUNT_OR_NULL)
  @ApiProperty({
    type: 'integer',
    nullable: true,
    minimum: 0,
    example: 4,
    description: 'Null for both = as configured.',
  })
  minWorkers!: number | null;

  @ValidateIf((_, value) => value !== null)
  @IsInt(COUNT_OR_NULL)
  @Min(0, COUNT_OR_NULL)
  @Max(MOST_WORKERS, COUNT_OR_NULL)
  @ApiProperty({ type: 'integer', nullable: true, minimum: 0, example: 40 })
  maxWorkers!: number | null;
}

@ApiSchema({ name: 'ScalingBounds' })
export class ScalingBoundsView {
  @ApiProperty({ type: 'integer' })
  minWorkers!: number;
  @ApiProperty({ type: 'integer' })
  maxWorkers!: number;
  @ApiProperty({
    type: 'string',
    enum: ['configuration', 'api'],
    description: '`api`: set by a request to this API; they outlive restarts.',
  })
  from!: 'configuration' | 'api';
}

@ApiSchema({ name: 'ScalingHeads' })
export class ScalingHeadsView {
  @ApiProperty({ type: 'integer', description: 'Registered, and not draining.' })
  live!: number;
  @ApiProperty({ type: 'integer', description: 'Of those: have their queue.' })
  ready!: number;
  @ApiProperty({ type: 'integer', description: 'Registered, and on their way out.' })
  draining!: number;
  @ApiProperty({
    type: 'integer',
    nullable: true,
    description: 'Launched by the driver, and not registered yet; null where only the leader knows.',
  })
  starting!: number | null;
}

@ApiSchema({ name: 'ScalingNumbers', description: 'What a decision rests on.' })
export class ScalingNumbersView {
  @ApiProperty({ type: 'integer' })
  liveWorkers!: number;
  @ApiProperty({ type: 'number', description: '0 to 1.' })
  averageLoad!: number;
  @ApiProperty({ type: 'integer', description: 'Waiting, and some live worker could run them.' })
  queuedTasks!: number;
  @ApiProperty({ type: 'integer', description: 'Waiting, and no live worker can run them.' })
  unmetTasks!: number;
  @ApiProperty({ type: 'number', nullable: true, description: 'Of one busy worker; null = not known yet.' })
  workerTasksPerS!: number | null;
  @ApiProperty({ type: 'integer' })
  minWorkers!: number;
  @ApiProperty({ type: 'integer' })
  maxWorkers!: number;
  @ApiProperty({ type: 'boolean' })
  paused!: boolean;
}

@ApiSchema({ name: 'ScalingDecision' })
export class ScalingDecisionView implements LoggedDecision {
  @ApiProperty({ type: 'string', format: 'date-time' })
  at!: string;
  @ApiProperty({ type: 'string', enum: ['up', 'down', 'none'] })
  action!: 'up' | 'down' | 'none';
  @ApiProperty({
    type: 'string',
    enum: ['load', 'backlog', 'watermark', 'unmet', 'idle', 'bounds', 'steady', 'manual'],
    description: 'What asked for the size; `manual`: a person.',
  })
  rule!: LoggedDecision['rule'];
  @ApiProperty({ type: 'integer' })
  from!: number;
  @ApiProperty({ type: 'integer' })
  to!: number;
  @ApiProperty({ type: 'string', description: 'For people, with the numbers.' })
  reason!: string;
  @ApiProperty({ type: 'integer', description: 'Before bounds, rate, cooldown and stabilization.' })
  wanted!: number;
  @ApiProperty({
    type: 'string',
    isArray: true,
    enum: ['bounds', 'rate', 'cooldown', 'stabilization', 'paused'],
    description: 'Why `to` is not `wanted`.',
  })
  heldBackBy!: LoggedDecision['heldBackBy'];
  @ApiProperty({ type: ScalingNumbersView })
  numbers!: ScalingNumbersView;
}

@ApiSchema({ name: 'ScalingBackOff' })
export class ScalingBackOffView {
  @ApiProperty({ type: 'string', format: 'date-time', description: 'No worker is launched before then.' })
  until!: string;
  @ApiProperty({ type: 'integer', description: 'Starts that failed since the class was last well.' })
  crashes!: number;
}

@ApiSchema({ name: 'ScalingClass' })
export class ScalingClassView {
  @ApiProperty({ type: 'string', example: 'default' })
  workerClass!: string;
  @ApiProperty({
    type: 'string',
    isArray: true,
    description: 'As configured; empty = all that a worker has.',
  })
  nodeTypes!: readonly string[];
  @ApiProperty({ type: 'integer', description: 'How many workers there shall be.' })
  desired!: number;
  @ApiProperty({ type: 'string', description: 'Why.' })
  reason!: string;
  @ApiProperty({
    type: 'string',
    format: 'date-time',
    nullable: true,
    description: 'The last change on record.',
  })
  updatedAt!: string | null;
  @ApiProperty({ type: ScalingHeadsView })
  workers!: ScalingHeadsView;
  @ApiProperty({ type: ScalingBoundsView })
  bounds!: ScalingBoundsView;
  @ApiProperty({ type: 'boolean' })
  paused!: boolean;
  @ApiProperty({
    type: 'integer',
    nullable: true,
    description: 'Until the next change may come. Leader only.',
  })
  cooldownLeftMs!: number | null;
  @ApiProperty({
    type: ScalingBackOffView,
    nullable: true,
    description: 'Null = workers may be launched. Leader only.',
  })
  backOff!: ScalingBackOffView | null;
  @ApiProperty({
    type: ScalingDecisionView,
    isArray: true,
    nullable: true,
    description:
      'The last 50 changes and refusals of this term, newest first; null where only the leader knows.',
  })
  decisions!: readonly ScalingDecisionView[] | null;
}

@ApiSchema({ name: 'ScalingDriver' })
export class ScalingDriverView {
  @ApiProperty({ type: 'string', enum: [...WORKER_DRIVERS] })
  name!: WorkerDriver;
  @ApiProperty({
    type: 'string',
    nullable: true,
    description: 'What went wrong in the last round; null = nothing, or this replica does not lead.',
  })
  problem!: string | null;
}

@ApiSchema({ name: 'Scaling' })
export class ScalingView {
  @ApiProperty({ type: ScalingDriverView })
  driver!: ScalingDriverView;
  @ApiProperty({
    type: LeaderView,
    description: 'Decisions, cooldowns and back-offs are in the memory of the leader.',
  })
  leader!: LeaderView;
  @ApiProperty({ type: ScalingClassView, isArray: true })
  classes!: ScalingClassView[];
}

@ApiSchema({ name: 'DesiredWorkersOfClass' })
export class DesiredOfClassView {
  @ApiProperty({ type: 'integer', example: 5 })
  desired!: number;
  @ApiProperty({ type: 'integer', example: 2 })
  min!: number;
  @ApiProperty({ type: 'integer', example: 20 })
  max!: number;
  @ApiProperty({ type: 'string' })
  reason!: string;
}

@ApiSchema({ name: 'DesiredWorkers' })
export class DesiredView {
  @ApiProperty({ type: 'integer', example: 5, description: 'Of all classes.' })
  desired!: number;
  @ApiProperty({
    type: 'object',
    additionalProperties: { $ref: '#/components/schemas/DesiredWorkersOfClass' },
    description: 'By the name of the class.',
  })
  classes!: Record<string, DesiredOfClassView>;
}
