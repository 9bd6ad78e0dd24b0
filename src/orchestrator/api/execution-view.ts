import type { AttemptRecord, ExecutionRecord, ExecutionSummary } from '../../store/execution-store.js';
import type { WaitingReason } from '../waiting-reason.js';
import type { AttemptView, ExecutionSummaryView, ExecutionView } from './execution.dto.js';

/** From the record to what the API shows. */

export function toSummaryView(record: ExecutionSummary): ExecutionSummaryView {
  return {
    executionId: record.executionId,
    flowId: record.flowId,
    state: record.state,
    attempt: record.attempt,
    maxAttempts: record.maxAttempts,
    priority: record.priority,
    workerId: record.workerId,
    labels: record.labels,
    timeoutMs: record.timeoutMs,
    error: record.error,
    createdAt: new Date(record.createdAt).toISOString(),
    ...times(record),
    durationMs: record.durationMs,
    expiresAt: iso(record.expiresAt),
    cancelRequestedAt: iso(record.cancelRequestedAt),
  };
}

export function toExecutionView(record: ExecutionRecord, waiting: WaitingReason | null): ExecutionView {
  return {
    ...toSummaryView(record),
    result: record.result === null ? null : (JSON.parse(record.result) as unknown),
    attempts: [...record.pastAttempts.map(toAttemptView), currentAttempt(record)],
    timeline: record.timeline ?? [],
    waiting,
  };
}

function currentAttempt(record: ExecutionRecord): AttemptView {
  const { attempt, workerId, state, error } = record;
  return { attempt, workerId, outcome: state, ...times(record), error };
}

function toAttemptView(attempt: AttemptRecord): AttemptView {
  return { ...attempt, ...times(attempt) };
}

type Times = Record<'queuedAt' | 'assignedAt' | 'startedAt' | 'finishedAt', number | null>;

function times({ queuedAt, assignedAt, startedAt, finishedAt }: Times): {
  [K in keyof Times]: string | null;
} {
  return {
    queuedAt: iso(queuedAt),
    assignedAt: iso(assignedAt),
    startedAt: iso(startedAt),
    finishedAt: iso(finishedAt),
  };
}

function iso(epochMs: number | null): string | null {
  return epochMs === null ? null : new Date(epochMs).toISOString();
}
