import { createHash } from 'node:crypto';
import type { Selectable } from 'kysely';
import { PRIORITIES, type Priority } from '../queue/priority.js';
import type { Backoff } from '../queue/contracts/flow.js';
import type { Failure, NodeTimelineEntry } from '../queue/contracts/reports.js';
import type { AttemptRecord, ExecutionRecord, ExecutionSummary } from './execution-store.js';
import type { ExecutionTable } from './schema.js';

/** Between rows as the database has them and records as the port speaks of them. */

export type ExecutionRow = Selectable<ExecutionTable>;

/** The columns of a summary, in the order of the table. */
export const SUMMARY_COLUMNS = [
  'execution_id',
  'flow_id',
  'state',
  'priority',
  'attempt',
  'max_attempts',
  'timeout_ms',
  'created_at',
  'available_at',
  'expires_at',
  'queued_at',
  'assigned_at',
  'started_at',
  'finished_at',
  'cancel_requested_at',
  'duration_ms',
  'worker_id',
  'parked_reason',
  'required_types',
  'backoff',
  'labels',
  'error',
] as const satisfies (keyof ExecutionTable)[];
export type SummaryRow = Pick<ExecutionRow, (typeof SUMMARY_COLUMNS)[number]>;

export const RECORD_COLUMNS = [...SUMMARY_COLUMNS, 'past_attempts', 'timeline', 'request', 'result'] as const;
export type RecordRow = Pick<ExecutionRow, (typeof RECORD_COLUMNS)[number]>;

export function toSummary(row: SummaryRow): ExecutionSummary {
  return {
    executionId: row.execution_id,
    flowId: row.flow_id,
    state: row.state,
    attempt: row.attempt,
    maxAttempts: row.max_attempts,
    priority: priorityOf(row.priority),
    workerId: row.worker_id,
    requiredTypes: row.required_types,
    labels: parse<Record<string, string>>(row.labels) ?? {},
    timeoutMs: row.timeout_ms,
    backoff: parse<Backoff>(row.backoff),
    parkedReason: row.parked_reason,
    cancelRequestedAt: row.cancel_requested_at,
    createdAt: row.created_at,
    availableAt: row.available_at,
    expiresAt: row.expires_at,
    queuedAt: row.queued_at,
    assignedAt: row.assigned_at,
    startedAt: row.started_at,
    finishedAt: row.finished_at,
    durationMs: row.duration_ms,
    error: parse<Failure>(row.error),
  };
}

export function toRecord(row: RecordRow): ExecutionRecord {
  return {
    ...toSummary(row),
    request: row.request,
    result: row.result,
    timeline: parse<NodeTimelineEntry[]>(row.timeline),
    pastAttempts: toPastAttempts(row.past_attempts),
  };
}

/** The column holds the entries of an array without its brackets, so that one more is appended without reading it. */
export function toPastAttempts(text: string | null): AttemptRecord[] {
  return JSON.parse(`[${text ?? ''}]`) as AttemptRecord[];
}

export function priorityRank(priority: Priority): number {
  return PRIORITIES.indexOf(priority);
}

export function priorityOf(rank: number): Priority {
  const priority = PRIORITIES[rank];
  if (priority === undefined)
    throw new RangeError(`expected a priority rank below ${PRIORITIES.length}, got ${rank}`);
  return priority;
}

/** JSON text for a column; null stays null. */
export function toJson(value: object | null): string | null {
  return value === null ? null : JSON.stringify(value);
}

/**
 * JSON text made elsewhere, fit for both databases: what JSON allows raw but UTF-8 cannot carry (lone surrogates)
 * is escaped, which changes no value. Text that is clean, as `JSON.stringify` makes it, is answered as it is.
 */
export function storableJson(text: string): string {
  if (text.isWellFormed()) return text;
  return text.replace(LONE_SURROGATE, (unit) => `\\u${unit.charCodeAt(0).toString(16)}`);
}

/** With the flag `u` a pair is one character and does not match. */
const LONE_SURROGATE = /\p{Surrogate}/gu;

/** Longer ones are hashed: PostgreSQL refuses index entries of more than 2,704 bytes. */
const LONGEST_PLAIN_LABEL = 200;

/** A label as one indexable text. */
export function labelKey(name: string, value: string): string {
  const key = JSON.stringify([name, value]);
  return key.length <= LONGEST_PLAIN_LABEL ? key : `sha256:${createHash('sha256').update(key).digest('hex')}`;
}

function parse<T>(json: string | null): T | null {
  return json === null ? null : (JSON.parse(json) as T);
}

/** By which a write of a batch finds its row. */
export interface Keyed {
  executionId: string;
  attempt?: number;
  workerId?: string | null;
}

/**
 * The rows of one batch, each key once (the first given wins), and in the order of their ids where that is wanted: it is
 * the same in every replica, so that two of them locking the same rows wait for each other instead of deadlocking. Most
 * batches are as they should be, which costs less to see than to bring about.
 */
export function inOrder<T extends Keyed>(items: readonly T[], isOrderWanted: boolean): readonly T[] {
  if (isOrderWanted ? isAscending(items) : areDistinct(items)) return items;
  if (isOrderWanted && areDistinct(items)) return items.toSorted(byId);
  const byKey = new Map<string, T>();
  for (const item of items) {
    const key = `${item.executionId} ${item.attempt ?? ''} ${item.workerId ?? ''}`;
    if (!byKey.has(key)) byKey.set(key, item);
  }
  return [...byKey.values()].toSorted(byId);
}

/** Whether no two are of the same execution. */
export function areDistinct(items: readonly Keyed[]): boolean {
  if (isAscending(items)) return true;
  const ids = new Set<string>();
  for (const { executionId } of items) ids.add(executionId);
  return ids.size === items.length;
}

function isAscending(items: readonly Keyed[]): boolean {
  for (let index = 1; index < items.length; index += 1) {
    if (items[index]!.executionId <= items[index - 1]!.executionId) return false;
  }
  return true;
}

function byId({ executionId: a }: Keyed, { executionId: b }: Keyed): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
