import { ApiProperty, ApiSchema } from '@nestjs/swagger';
import { IsInt, IsOptional, Max, Min } from 'class-validator';
import type { WorkerCapacity, WorkerLoad } from '../../queue/contracts/fleet.js';
import { WORKER_STATUSES } from '../../queue/contracts/fleet.js';
import type { WorkerLifecycle, WorkerView } from '../../worker/worker-view.js';
import { expected } from './validation.js';

const LONGEST_DRAIN_MS = 86_400_000;
const DRAIN = expected(`a whole number from 0 to ${LONGEST_DRAIN_MS}`);

@ApiSchema({ name: 'DrainRequest' })
export class DrainRequest {
  @IsOptional()
  @IsInt(DRAIN)
  @Min(0, DRAIN)
  @Max(LONGEST_DRAIN_MS, DRAIN)
  @ApiProperty({
    type: 'integer',
    required: false,
    minimum: 0,
    maximum: LONGEST_DRAIN_MS,
    example: 30_000,
    description:
      'Time to finish what it holds, ms; the rest it hands back. Unset = WORKER_DRAIN_DEADLINE_MS.',
  })
  deadlineMs?: number;
}

@ApiSchema({ name: 'Draining' })
export class DrainingView {
  @ApiProperty({ type: 'string' })
  workerId!: string;
  @ApiProperty({ type: 'string', enum: ['draining'] })
  status!: 'draining';
  @ApiProperty({ type: 'integer' })
  deadlineMs!: number;
}

@ApiSchema({ name: 'WorkerCapacity' })
export class CapacityDescription implements WorkerCapacity {
  @ApiProperty({ type: 'integer' })
  maxConcurrentFlows!: number;
  @ApiProperty({ type: 'integer' })
  maxConcurrentNodes!: number;
  @ApiProperty({ type: 'number' })
  memoryLimitMB!: number;
  @ApiProperty({ type: 'number' })
  cpuLimitCores!: number;
}

@ApiSchema({ name: 'WorkerLoad' })
export class LoadDescription implements WorkerLoad {
  @ApiProperty({ type: 'integer' })
  activeFlows!: number;
  @ApiProperty({ type: 'integer' })
  activeNodes!: number;
  @ApiProperty({ type: 'number' })
  memoryUsagePercent!: number;
  @ApiProperty({ type: 'number' })
  cpuUsagePercent!: number;
  @ApiProperty({ type: 'integer' })
  queuedTasks!: number;
}

@ApiSchema({ name: 'WorkerPerformance' })
export class PerformanceDescription {
  @ApiProperty({ type: 'number', description: '0 to 1.' })
  currentLoad!: number;
  @ApiProperty({ type: 'integer' })
  tasksCompleted!: number;
  @ApiProperty({ type: 'integer' })
  tasksInProgress!: number;
  @ApiProperty({ type: 'number' })
  averageExecutionTimeMs!: number;
  @ApiProperty({ type: 'number', description: '0 to 1.' })
  errorRate!: number;
}

@ApiSchema({ name: 'Worker' })
export class WorkerDescription implements WorkerView {
  @ApiProperty({ type: 'string', example: 'worker-001' })
  workerId!: string;
  @ApiProperty({ type: 'string' })
  hostname!: string;
  @ApiProperty({ type: 'string', description: "New for every start of the worker's process." })
  incarnation!: string;
  @ApiProperty({ type: 'string', enum: ['joining', 'ready', 'draining', 'gone'] })
  lifecycle!: WorkerLifecycle;
  @ApiProperty({ type: 'string', enum: [...WORKER_STATUSES] })
  status!: WorkerView['status'];
  @ApiProperty({ type: CapacityDescription })
  capacity!: CapacityDescription;
  @ApiProperty({ type: 'string', isArray: true, example: ['data-filter', 'http-request'] })
  supportedNodeTypes!: string[];
  @ApiProperty({
    type: 'string',
    required: false,
    example: 'default',
    description: 'As it said itself; missing = it names none, and belongs to the first.',
  })
  workerClass?: string;
  @ApiProperty({ type: 'number' })
  weight!: number;
  @ApiProperty({ type: LoadDescription, description: 'By its last heartbeat.' })
  currentLoad!: LoadDescription;
  @ApiProperty({ type: PerformanceDescription })
  performance!: PerformanceDescription;
  @ApiProperty({ type: 'string', isArray: true })
  heldExecutionIds!: string[];
  @ApiProperty({ type: 'string', format: 'date-time' })
  registeredAt!: string;
  @ApiProperty({ type: 'string', format: 'date-time', nullable: true })
  lastHeartbeatAt!: string | null;
  @ApiProperty({ type: 'boolean', description: 'Whether it may be given a task.' })
  assignable!: boolean;
  @ApiProperty({ type: 'string', required: false })
  notAssignableReason?: string;
}

@ApiSchema({ name: 'WorkerList' })
export class WorkerListView {
  @ApiProperty({ type: WorkerDescription, isArray: true })
  items!: WorkerView[];
}
