import type { Generated } from 'kysely';
import type { ParkedReason } from './execution-store.js';
import type { ExecutionState } from './transitions.js';

/**
 * The tables as both dialects answer them. Times are epoch ms by the store's clock. Columns named here as JSON hold
 * JSON *text*: escaped that way, NUL characters and lone surrogates survive in both databases.
 */
export interface StoreDatabase {
  executions: ExecutionTable;
  execution_labels: ExecutionLabelTable;
  dead_letters: DeadLetterTable;
  leases: LeaseTable;
  scaling: ScalingTable;
}

export interface ExecutionTable {
  /** The order of acceptance. In SQLite the row's own place. Indexes end with it: an id is up to ten times as long. */
  seq: Generated<number>;
  execution_id: string;
  flow_id: string;
  state: ExecutionState;
  /** Index into `PRIORITIES`: 0 is the highest. */
  priority: number;
  attempt: number;
  max_attempts: number;
  /** What `max_attempts` was at acceptance: a replay raises it by this. */
  attempts_per_series: number;
  timeout_ms: number;
  created_at: number;
  available_at: number | null;
  expires_at: number | null;
  queued_at: number | null;
  assigned_at: number | null;
  started_at: number | null;
  finished_at: number | null;
  cancel_requested_at: number | null;
  duration_ms: number | null;
  worker_id: string | null;
  parked_reason: ParkedReason | null;
  request_hash: string;
  required_types: string;
  /** JSON of `Backoff`. */
  backoff: string | null;
  /** JSON of `Record<string, string>`; null = none. */
  labels: string | null;
  /** JSON of the `Failure` to record when a wished cancel comes true. */
  cancel_error: string | null;
  /** JSON of `Failure`. */
  error: string | null;
  /** `AttemptRecord`s as JSON, joined with commas and without the brackets, so that an append is a concatenation. */
  past_attempts: string | null;
  /** JSON of `NodeTimelineEntry[]`. */
  timeline: string | null;
  /** JSON. */
  request: string;
  /** JSON. */
  result: string | null;
}

/**
 * One row a label, in the order of a list: a label is looked up without touching any other execution. An execution
 * without labels costs nothing here.
 */
export interface ExecutionLabelTable {
  label: string;
  created_at: number;
  seq: number;
  execution_id: string;
}

export interface DeadLetterTable {
  id: Generated<number>;
  at: number;
  /** JSON of `NewDeadLetter`: nobody searches in it, and its texts come from messages that nobody checked. */
  letter: string;
}

export interface LeaseTable {
  name: string;
  holder: string;
  epoch: number;
  ends_at: number;
}

/** One row a worker class that somebody has decided on. */
export interface ScalingTable {
  worker_class: string;
  desired: number | null;
  /** When `desired` was set. */
  desired_at: number | null;
  min_workers: number | null;
  max_workers: number | null;
  /** 0 or 1. */
  paused: number;
  reason: string;
  revision: number;
  updated_at: number;
}
