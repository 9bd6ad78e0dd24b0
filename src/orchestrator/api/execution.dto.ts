import { ApiProperty, type ApiPropertyOptions, ApiSchema } from '@nestjs/swagger';
import type { Failure, NodeTimelineEntry } from '../../queue/contracts/reports.js';
import { PRIORITIES, type Priority } from '../../queue/priority.js';
import { EXECUTION_STATES, type ExecutionState } from '../../store/transitions.js';
import { WAITING_CODES, type WaitingCode, type WaitingReason } from '../waiting-reason.js';

/** What the API answers about executions. Times are ISO 8601, null when it has not come to that. */

const Time = (description: string): PropertyDecorator =>
  ApiProperty({ type: 'string', format: 'date-time', nullable: true, description });
const Nullable = (options: ApiPropertyOptions): PropertyDecorator =>
  ApiProperty({ ...options, nullable: true } as ApiPropertyOptions);
const State = (description: string): PropertyDecorator =>
  ApiProperty({ type: 'string', enum: [...EXECUTION_STATES], description });

@ApiSchema({ name: 'Failure', description: 'Why something failed.' })
export class FailureView implements Failure {
  @ApiProperty({ type: 'string', example: 'node_failed', description: 'Stable and machine-readable.' })
  code!: string;
  @ApiProperty({ type: 'string' })
  message!: string;
  @ApiProperty({ type: 'boolean', description: 'Whether another attempt may help.' })
  retryable!: boolean;
  @ApiProperty({ type: 'string', required: false })
  nodeId?: string;
  @ApiProperty({ type: 'object', additionalProperties: true, selfRequired: false })
  details?: Record<string, unknown>;
}

@ApiSchema({ name: 'Waiting', description: 'Why the execution is not running yet.' })
export class WaitingView implements WaitingReason {
  @ApiProperty({ type: 'string', enum: [...WAITING_CODES] })
  code!: WaitingCode;
  @ApiProperty({ type: 'string', example: 'no live worker supports sap-idoc: start one that does' })
  message!: string;
  @ApiProperty({ type: 'string', format: 'date-time', required: false, description: 'Not before then.' })
  until?: string;
  @ApiProperty({ type: 'integer', required: false, description: 'Executions that go first.' })
  ahead?: number;
  @ApiProperty({ type: 'boolean', required: false, description: 'True when there may be more than `ahead`.' })
  aheadIsLowerBound?: boolean;
  @ApiProperty({ type: 'string', isArray: true, required: false })
  missingNodeTypes?: string[];
  @ApiProperty({ type: 'string', isArray: true, required: false })
  requiredNodeTypes?: string[];
  @ApiProperty({ type: 'string', required: false })
  workerId?: string;
}

@ApiSchema({ name: 'Attempt', description: 'One attempt; the last one of the list is the current one.' })
export class AttemptView {
  @ApiProperty({ type: 'integer', minimum: 1 })
  attempt!: number;
  @Nullable({ type: 'string' })
  workerId!: string | null;
  @ApiProperty({
    type: 'string',
    example: 'failed',
    description:
      'How it ended: `completed`, `failed`, `cancelled`, `dead`, `snoozed`, `worker_lost`, `handed_back`; for the current one, the state it is in.',
  })
  outcome!: string;
  @Time('When its task was published.')
  queuedAt!: string | null;
  @Time('When a worker was chosen.')
  assignedAt!: string | null;
  @Time('When the worker reported its start.')
  startedAt!: string | null;
  @Time('When its end was recorded.')
  finishedAt!: string | null;
  @Nullable({ type: FailureView })
  error!: FailureView | null;
}

@ApiSchema({ name: 'NodeTimelineEntry', description: 'What one node did in the last attempt.' })
export class TimelineEntryView implements NodeTimelineEntry {
  @ApiProperty({ type: 'string' })
  nodeId!: string;
  @ApiProperty({ type: 'string' })
  type!: string;
  @ApiProperty({ type: 'string', enum: ['completed', 'failed', 'skipped', 'cancelled'] })
  state!: NodeTimelineEntry['state'];
  @ApiProperty({ type: 'integer', description: 'Tries used; 0 for a skipped node.' })
  tries!: number;
  @ApiProperty({ type: 'string', format: 'date-time', required: false })
  startedAt?: string;
  @ApiProperty({ type: 'string', format: 'date-time' })
  finishedAt!: string;
  @ApiProperty({ type: FailureView, required: false })
  error?: FailureView;
}

@ApiSchema({ name: 'ExecutionSummary', description: 'An execution without what may be bulky.' })
export class ExecutionSummaryView {
  @ApiProperty({ type: 'string' })
  executionId!: string;
  @ApiProperty({ type: 'string' })
  flowId!: string;
  @State('Where it stands.')
  state!: ExecutionState;
  @ApiProperty({ type: 'integer', minimum: 1, description: 'The current attempt.' })
  attempt!: number;
  @ApiProperty({ type: 'integer', minimum: 1 })
  maxAttempts!: number;
  @ApiProperty({ type: 'string', enum: [...PRIORITIES] })
  priority!: Priority;
  @Nullable({ type: 'string', description: 'The worker of the current attempt.' })
  workerId!: string | null;
  @ApiProperty({ type: 'object', additionalProperties: { type: 'string' } })
  labels!: Record<string, string>;
  @ApiProperty({ type: 'integer', description: 'Longest run of one attempt, ms.' })
  timeoutMs!: number;
  @Nullable({ type: FailureView })
  error!: FailureView | null;
  @ApiProperty({ type: 'string', format: 'date-time' })
  createdAt!: string;
  @Time('When its task was published.')
  queuedAt!: string | null;
  @Time('When a worker was chosen.')
  assignedAt!: string | null;
  @Time('When the worker reported its start.')
  startedAt!: string | null;
  @Time('When its end was recorded.')
  finishedAt!: string | null;
  @Nullable({ type: 'number', description: "How long the last attempt ran, ms, by the worker's clock." })
  durationMs!: number | null;
  @Time('Cancelled if it still waits by then.')
  expiresAt!: string | null;
  @Time('When somebody asked to cancel it.')
  cancelRequestedAt!: string | null;
}

@ApiSchema({ name: 'Execution', description: 'Everything on record about an execution.' })
export class ExecutionView extends ExecutionSummaryView {
  @Nullable({
    type: 'object',
    additionalProperties: true,
    description: 'Maps each leaf node that ran to its output; null unless completed.',
  })
  result!: unknown;
  @ApiProperty({ type: AttemptView, isArray: true })
  attempts!: AttemptView[];
  @ApiProperty({
    type: TimelineEntryView,
    isArray: true,
    description: 'The nodes, in the order in which they ended.',
  })
  timeline!: NodeTimelineEntry[];
  @Nullable({ type: WaitingView })
  waiting!: WaitingReason | null;
}

@ApiSchema({ name: 'ExecutionPage' })
export class ExecutionPageView {
  @ApiProperty({ type: ExecutionSummaryView, isArray: true })
  items!: ExecutionSummaryView[];
  @Nullable({ type: 'string', description: 'The `cursor` of the next page; null on the last one.' })
  nextCursor!: string | null;
}

@ApiSchema({ name: 'Submitted', description: 'An execution and its state at this moment.' })
export class SubmittedView {
  @ApiProperty({ type: 'string', example: 'exec-456' })
  executionId!: string;
  @ApiProperty({
    type: 'string',
    enum: [...EXECUTION_STATES, 'cancelling'],
    example: 'accepted',
    description: '`cancelling`: its worker is to abort it.',
  })
  status!: ExecutionState | 'cancelling';
}
