import { HIGHEST_ATTEMPT, ID_PATTERN } from './flow.js';

/** Why something failed: data, so that it survives the wire. `retryable` decides whether another attempt follows. */
export interface Failure {
  /** Stable, machine-readable, lower case with underscores: `timeout`, `node_failed`, `worker_lost` … */
  code: string;
  message: string;
  retryable: boolean;
  nodeId?: string;
  details?: Record<string, unknown>;
}

/** What a new process of a worker says of a task that its predecessor had: whether it ended is not known to it. */
export const INTERRUPTED_CODE = 'interrupted';

/** Failure codes that say that the worker was lost: nothing about the flow itself is known to be wrong. */
export const WORKER_LOSS_CODES: ReadonlySet<string> = new Set(['worker_lost', INTERRUPTED_CODE]);

export const NODE_STATES = ['completed', 'failed', 'skipped', 'cancelled'] as const;

/** What one node did, in the order in which nodes ended. Times are ISO 8601. */
export interface NodeTimelineEntry {
  nodeId: string;
  type: string;
  state: (typeof NODE_STATES)[number];
  /** Tries used inside this attempt of the execution; 0 for a skipped node. */
  tries: number;
  startedAt?: string;
  finishedAt: string;
  error?: Failure;
}

/**
 * What a worker says of one attempt. `started` comes at most once and may be left out when the end follows at once;
 * one of the others ends the attempt:
 * - `completed`: `result` maps each leaf node that ran to its output;
 * - `failed`: see `error.retryable`;
 * - `snoozed`: run again after `snoozeMs`, the attempt is not counted;
 * - `cancelled`: aborted because the orchestrator asked for it;
 * - `handed_back`: a worker that drains, or has no slot for it, gives it back; the attempt is not counted.
 */
export const REPORT_KINDS = [
  'started',
  'completed',
  'failed',
  'snoozed',
  'cancelled',
  'handed_back',
] as const;
export type ReportKind = (typeof REPORT_KINDS)[number];

export interface TaskReport {
  executionId: string;
  attempt: number;
  kind: ReportKind;
  /** ISO 8601, the worker's clock: for people, and for comparing with times of the same worker; never with another clock. */
  startedAt?: string;
  finishedAt?: string;
  /** How long the attempt ran, by the worker's monotonic clock. */
  durationMs?: number;
  result?: Record<string, unknown>;
  error?: Failure;
  snoozeMs?: number;
  timeline?: NodeTimelineEntry[];
}

/** Published by a worker to `flow.results`: everything that happened since its last batch was confirmed. */
export interface ReportBatchMessage {
  workerId: string;
  incarnation: string;
  reports: TaskReport[];
}

export const REPORTS_TYPE = 'task.reports';

const failureSchema = {
  type: 'object',
  required: ['code', 'message', 'retryable'],
  properties: {
    code: { type: 'string', pattern: '^[a-z0-9_]{1,64}$' },
    message: { type: 'string' },
    retryable: { type: 'boolean' },
    nodeId: { type: 'string' },
    details: { type: 'object' },
  },
} as const;

const timelineEntrySchema = {
  type: 'object',
  required: ['nodeId', 'type', 'state', 'tries', 'finishedAt'],
  properties: {
    nodeId: { type: 'string' },
    type: { type: 'string' },
    state: { enum: NODE_STATES },
    tries: { type: 'integer', minimum: 0 },
    startedAt: { type: 'string' },
    finishedAt: { type: 'string' },
    error: failureSchema,
  },
} as const;

const reportSchema = {
  type: 'object',
  required: ['executionId', 'attempt', 'kind'],
  properties: {
    executionId: { type: 'string', pattern: ID_PATTERN },
    attempt: { type: 'integer', minimum: 1, maximum: HIGHEST_ATTEMPT },
    kind: { enum: REPORT_KINDS },
    startedAt: { type: 'string' },
    finishedAt: { type: 'string' },
    durationMs: { type: 'number', minimum: 0 },
    result: { type: 'object' },
    error: failureSchema,
    snoozeMs: { type: 'integer', minimum: 0, maximum: 86_400_000 },
    timeline: { type: 'array', items: timelineEntrySchema },
  },
  // oxlint-disable unicorn/no-thenable -- JSON Schema's keyword, not a promise
  allOf: [
    { if: { properties: { kind: { const: 'completed' } } }, then: { required: ['result'] } },
    { if: { properties: { kind: { const: 'failed' } } }, then: { required: ['error'] } },
    { if: { properties: { kind: { const: 'snoozed' } } }, then: { required: ['snoozeMs'] } },
  ],
  // oxlint-enable unicorn/no-thenable
} as const;

export const reportBatchSchema = {
  type: 'object',
  required: ['workerId', 'incarnation', 'reports'],
  properties: {
    workerId: { type: 'string', pattern: ID_PATTERN },
    incarnation: { type: 'string', pattern: ID_PATTERN },
    reports: { type: 'array', minItems: 1, items: reportSchema },
  },
} as const;
