import { ApiProperty, ApiSchema } from '@nestjs/swagger';
import { WORKER_DRIVERS, type WorkerDriver } from '../../config/config.schema.js';
import { PRIORITIES, type Priority } from '../../queue/priority.js';

@ApiSchema({ name: 'QueueHealth' })
export class QueueHealthView {
  @ApiProperty({ type: 'string', example: 'flow.ready.high' })
  name!: string;
  @ApiProperty({
    type: 'integer',
    description:
      'Messages that are ready; of a ready queue, with those tasks that wait with the leader and have no message. Only the leader knows of these.',
  })
  depth!: number;
  @ApiProperty({ type: 'integer' })
  consumers!: number;
  @ApiProperty({ type: 'string', enum: [...PRIORITIES], required: false })
  priority?: Priority;
  @ApiProperty({
    type: 'string',
    enum: ['normal', 'high'],
    description: 'High from above QUEUE_HIGH_WATER_MARK until below QUEUE_LOW_WATER_MARK.',
  })
  watermark!: 'normal' | 'high';
}

@ApiSchema({ name: 'WorkerStats' })
export class WorkerStatsView {
  @ApiProperty({ type: 'integer', example: 5 })
  total!: number;
  @ApiProperty({ type: 'integer', example: 3, description: 'May get a task now.' })
  available!: number;
  @ApiProperty({ type: 'integer', example: 2, description: 'Hold at least one.' })
  busy!: number;
  @ApiProperty({ type: 'number', example: 0.45, description: '0 to 1.' })
  averageLoad!: number;
}

@ApiSchema({ name: 'Leader' })
export class LeaderView {
  @ApiProperty({ type: 'boolean', description: 'Whether this instance dispatches.' })
  isLeader!: boolean;
  @ApiProperty({
    type: 'string',
    nullable: true,
    description: 'The instance that dispatches, as far as is known.',
  })
  leader!: string | null;
  @ApiProperty({ type: 'integer', description: 'Rises with every change of leader.' })
  epoch!: number;
}

@ApiSchema({ name: 'ScalingClassHealth' })
export class ScalingClassHealthView {
  @ApiProperty({ type: 'string', example: 'default' })
  workerClass!: string;
  @ApiProperty({ type: 'integer', nullable: true, description: 'Null while the database is away.' })
  desired!: number | null;
  @ApiProperty({ type: 'integer' })
  live!: number;
  @ApiProperty({ type: 'integer' })
  minWorkers!: number;
  @ApiProperty({ type: 'integer' })
  maxWorkers!: number;
  @ApiProperty({ type: 'boolean' })
  paused!: boolean;
}

@ApiSchema({ name: 'ScalingHealth' })
export class ScalingHealthView {
  @ApiProperty({ type: 'string', enum: [...WORKER_DRIVERS] })
  driver!: WorkerDriver;
  @ApiProperty({
    type: 'string',
    isArray: true,
    description: 'What keeps the pool from its size, as the leader knows it.',
  })
  problems!: string[];
  @ApiProperty({ type: ScalingClassHealthView, isArray: true })
  classes!: ScalingClassHealthView[];
}

@ApiSchema({ name: 'BrokerHealth' })
export class BrokerHealthView {
  @ApiProperty({ type: 'string', enum: ['up', 'blocked', 'away'] })
  state!: 'up' | 'blocked' | 'away';
  @ApiProperty({ type: 'string', required: false })
  reason?: string;
}

@ApiSchema({ name: 'StoreHealth' })
export class StoreHealthView {
  @ApiProperty({ type: 'string', enum: ['up', 'away'] })
  state!: 'up' | 'away';
  @ApiProperty({ type: 'string', enum: ['sqlite', 'postgresql'] })
  dialect!: 'sqlite' | 'postgresql';
  @ApiProperty({ type: 'string', required: false })
  reason?: string;
}

@ApiSchema({ name: 'Health' })
export class HealthView {
  @ApiProperty({ type: 'string', enum: ['healthy', 'degraded', 'critical'] })
  status!: 'healthy' | 'degraded' | 'critical';
  @ApiProperty({ type: 'string', isArray: true, description: 'Why it is not healthy, worst first.' })
  reasons!: string[];
  @ApiProperty({ type: 'string', format: 'date-time' })
  timestamp!: string;
  @ApiProperty({ type: QueueHealthView, isArray: true })
  queues!: QueueHealthView[];
  @ApiProperty({ type: WorkerStatsView })
  workers!: WorkerStatsView;
  @ApiProperty({ type: ScalingHealthView })
  scaling!: ScalingHealthView;
  @ApiProperty({ type: LeaderView })
  leader!: LeaderView;
  @ApiProperty({ type: BrokerHealthView })
  broker!: BrokerHealthView;
  @ApiProperty({ type: StoreHealthView })
  store!: StoreHealthView;
  @ApiProperty({ type: 'string', example: '0.1.0' })
  version!: string;
  @ApiProperty({ type: 'string', description: 'The replica that answers.' })
  instance!: string;
}

@ApiSchema({ name: 'Liveness' })
export class LivenessView {
  @ApiProperty({ type: 'string', enum: ['ok'] })
  status!: 'ok';
}

@ApiSchema({ name: 'Readiness' })
export class ReadinessView {
  @ApiProperty({ type: 'string', enum: ['ok'] })
  status!: 'ok';
  @ApiProperty({
    type: 'object',
    additionalProperties: { type: 'object' },
    description: 'What was looked at.',
  })
  details!: object;
}
