import type { Backoff } from '../queue/contracts/flow.js';
import type { Failure, NodeTimelineEntry } from '../queue/contracts/reports.js';
import type { Priority } from '../queue/priority.js';
import type { ExecutionState, TerminalState } from './transitions.js';

/**
 * The record of every execution. One port, two dialects (SQLite, PostgreSQL), one conformance suite.
 *
 * Every method that changes state takes a batch, is one transaction, and is a compare-and-set: it checks the state
 * (see `transitions.ts`) and the attempt that it expects, and answers which executions it really changed. All
 * times are epoch milliseconds **by the store's clock**, so that replicas with wrong clocks agree; durations go in.
 *
 * `availableAt` drives the stager: a waiting execution whose `availableAt` has come needs its task published.
 * Null means its task is in the broker, with a worker, or parked. So a delay, a retry's wait, a requeue and a
 * crash between row and publish are all the same thing: a row that becomes due.
 */
export abstract class ExecutionStore {
  /** Opens the database and brings its schema up to date, under a lock. */
  abstract open(): Promise<void>;
  abstract close(): Promise<void>;
  /** One round trip to the database; rejects when it is away. */
  abstract ping(): Promise<void>;

  // ---- transitions -------------------------------------------------------------------------------------------

  /**
   * Inserts what is new. An id that exists is left alone and answered with what is on record, so that the caller
   * can tell a repetition (same `requestHash`) from a conflict. Two items of one batch may carry the same id.
   * @returns one answer per item, in order
   */
  abstract accept(items: NewExecution[]): Promise<Acceptance[]>;

  /**
   * `queue`: the broker confirmed these tasks; `availableAt` becomes null and `queuedAt` is now. A row already queued
   * changes only if it has an `availableAt` to lose.
   */
  abstract markQueued(tasks: TaskRef[]): Promise<void>;

  /**
   * `assign`, fenced: nothing is written unless `epoch` is the lease's current one. Skips executions that are
   * cancelled meanwhile, expired or at another attempt. Clears parking.
   * @param wanted ids of which more is asked for than whether they were assigned
   * @returns the ids that are now assigned, each with what its task says if that was asked for
   */
  abstract assign(
    epoch: number,
    assignments: Assignment[],
    wanted?: ReadonlySet<string>,
  ): Promise<Map<string, TaskContent | null>>;

  /** `start`. */
  abstract markRunning(tasks: HeldTaskRef[]): Promise<void>;

  /**
   * `complete`, `fail`, `bury` or `abort`, by `state`. The attempt and the worker must match: a stale attempt's
   * result is not recorded. An `abort` without an error records the reason that the cancel was asked for with.
   * @param wanted ids whose whole record is asked for, which saves reading it afterwards
   * @returns the ids recorded now, each with its record if that was asked for
   */
  abstract finish(
    ends: FinishedAttempt[],
    wanted?: ReadonlySet<string>,
  ): Promise<Map<string, ExecutionRecord | null>>;

  /**
   * `retry`: the ended attempt moves to `pastAttempts`, `availableAt` = now + `delayMs`. An execution whose cancel was
   * asked for meanwhile takes `abort` instead, as no worker is left to do it, and is not among the ids.
   * @returns the ids changed
   */
  abstract retryLater(retries: Retry[]): Promise<Set<string>>;

  /**
   * `requeue`: the ended attempt moves to `pastAttempts`, `availableAt` = now. One whose cancel was asked for is
   * treated as in `retryLater`. @returns the ids changed
   */
  abstract requeue(requeues: Requeue[]): Promise<Set<string>>;

  /**
   * Takes waiting executions out of the broker's queues until `unpark`: state `queued`, `availableAt` null,
   * `parkedReason` set. @returns the ids parked
   */
  abstract park(tasks: TaskRef[], reason: ParkedReason): Promise<Set<string>>;

  /** Makes up to `limit` parked executions of these classes due now, highest priority and oldest first. @returns how many */
  abstract unpark(requiredTypes: string[], limit: number): Promise<number>;

  /** Which classes have parked executions, and how many each. */
  abstract parkedClasses(): Promise<ParkedClass[]>;

  /**
   * `cancel` for a waiting execution; for one with a worker it only notes the wish (`cancelRequestedAt`), and the
   * caller tells the worker. @returns null if there is no such execution
   */
  abstract cancel(executionId: string, reason: string): Promise<Cancellation | null>;

  /**
   * `replay`: a new series of attempts: attempt + 1, `maxAttempts` raised by the execution's own number of attempts,
   * result and error cleared (the error is kept in `pastAttempts`), due now. An `expiresAt` that has come is dropped.
   * Ids in any other state are left alone.
   * @returns the ids changed
   */
  abstract replay(executionIds: string[]): Promise<Set<string>>;

  /** `cancel` with the failure code `expired` for up to `limit` waiting executions whose `expiresAt` has come. @returns their ids */
  abstract expire(limit: number): Promise<string[]>;

  /**
   * Finds executions that are `queued` since more than `olderThanMs`, not parked and not due (their task should be in
   * the broker), except those in `known`, and makes them due. Called when the ready queues are empty. @returns how many
   */
  abstract requeueMissing(olderThanMs: number, known: string[]): Promise<number>;

  /** Executions that are queued at this attempt and due at some time are due so long from now instead; 0 = at once. */
  abstract postpone(tasks: TaskRef[], byMs: number): Promise<void>;

  // ---- reading -----------------------------------------------------------------------------------------------

  /**
   * The next tasks to publish, those that came due first first, and how long until another one comes due.
   * `nextInMs` is null when none is waiting for a time; it looks past `tasks` and `except`.
   */
  abstract due(limit: number, except: string[]): Promise<{ tasks: DueTask[]; nextInMs: number | null }>;

  /** Every execution that a worker holds, by the record: what the ledger is rebuilt from. */
  abstract held(): Promise<HeldExecution[]>;

  abstract get(executionId: string): Promise<ExecutionRecord | null>;
  /** Those of `executionIds` that have ended. One query, however many. */
  abstract ended(executionIds: string[]): Promise<ExecutionRecord[]>;
  /** Newest first. `cursor` is the `nextCursor` of the page before; an unreadable one throws `InvalidCursorError`. */
  abstract list(filter: ExecutionFilter, limit: number, cursor?: string): Promise<ExecutionPage>;
  /** How many queued, unparked executions are before this one (higher priority, or same and older), counting no further than `atMost`. */
  abstract countAhead(executionId: string, atMost: number): Promise<number>;
  /** How many executions are in each state that is not terminal, and how many are dead. */
  abstract countOpen(): Promise<Record<ExecutionState, number>>;

  // ---- dead letters: messages that could not be understood or delivered ---------------------------------------

  abstract addDeadLetters(letters: NewDeadLetter[]): Promise<void>;
  abstract listDeadLetters(
    limit: number,
    cursor?: string,
  ): Promise<{ items: DeadLetter[]; nextCursor: string | null }>;
  /** @returns null if it is not there */
  abstract getDeadLetter(id: string): Promise<DeadLetter | null>;
  /** @returns false if it was not there */
  abstract deleteDeadLetter(id: string): Promise<boolean>;

  // ---- upkeep ------------------------------------------------------------------------------------------------

  /**
   * Deletes executions that ended, and dead letters that were added, more than `olderThanMs` ago: up to `limit` in all,
   * executions first. @returns how many; less than `limit` = nothing that old is left
   */
  abstract prune(olderThanMs: number, limit: number): Promise<number>;

  // ---- scaling: the size each worker class shall have ---------------------------------------------------------

  /** What is on record about the classes; those nobody has decided on or changed anything about are missing. */
  abstract scalingRecords(): Promise<ScalingRecord[]>;

  /**
   * What the leader decided, fenced like `assign`: nothing is written unless `epoch` is the lease's current one. A class
   * whose record was changed since `revision` was read is left alone.
   * @returns the classes that were written
   */
  abstract recordScaling(epoch: number, decided: DecidedSize[]): Promise<Set<string>>;

  /** What a person asked for, at any replica: the fields given, and no others. @returns the record as it is now */
  abstract changeScaling(workerClass: string, change: ScalingChange): Promise<ScalingRecord>;

  // ---- the lease: who is the leader --------------------------------------------------------------------------

  /**
   * Takes the lease if it is free, run out or already `holder`'s own; renews it in that last case.
   * A new term raises `epoch` by one; a holder whose own lease ran out begins one too. Store time only.
   * @returns the lease as it is now, whoever holds it
   */
  abstract acquireLease(holder: string, ttlMs: number): Promise<Lease>;
  /** Gives it up at once, so that another replica need not wait for its end. */
  abstract releaseLease(holder: string): Promise<void>;
}

export class InvalidCursorError extends Error {
  override readonly name = 'InvalidCursorError';
}

export interface TaskRef {
  executionId: string;
  attempt: number;
}

export interface HeldTaskRef extends TaskRef {
  workerId: string;
}

export interface NewExecution {
  executionId: string;
  flowId: string;
  priority: Priority;
  /** The class of the task: its distinct node types, sorted and joined with `,`. */
  requiredTypes: string;
  /** JSON text of `{flowData, inputs}`; kept as it is. */
  request: string;
  /** SHA-256 of the canonical request, hex: tells a repetition from a conflict. */
  requestHash: string;
  labels: Record<string, string>;
  timeoutMs: number;
  maxAttempts: number;
  backoff: Backoff | null;
  /** 0 = now. */
  delayMs: number;
  /** Absolute, epoch ms; null = never. */
  expiresAt: number | null;
  /** Set = the fast path: the row is inserted as `assigned` to this worker, queued and assigned at the same instant. */
  workerId: string | null;
  /** Inserted as `queued`: its task waits with the leader, which is the caller, and there is no message of it. */
  isInLine?: boolean;
  /** How long after now the stager takes over if nobody says the task was published (crash between row and publish), or `postpone`s. */
  rescueAfterMs: number;
}

export type Acceptance =
  { kind: 'created' } | { kind: 'existing'; requestHash: string; state: ExecutionState; attempt: number };

export interface Assignment extends TaskRef {
  workerId: string;
}

export interface FinishedAttempt extends HeldTaskRef {
  state: TerminalState;
  /** JSON text of the result; null unless completed. */
  result: string | null;
  error: Failure | null;
  timeline: NodeTimelineEntry[] | null;
  /** By the worker's monotonic clock, ms; null when it never started. */
  durationMs: number | null;
}

interface EndedAttempt extends HeldTaskRef {
  /** True = the next attempt is `attempt + 1`; false = it keeps its number (hand-back, snooze, never started). */
  countAttempt: boolean;
  error: Failure | null;
  /** By the worker's monotonic clock, ms; null when it never started, or nobody is left to say. */
  durationMs: number | null;
  /** What to call the end in `attempts`. */
  outcome: 'failed' | 'snoozed' | 'worker_lost' | 'handed_back';
}
export interface Retry extends EndedAttempt {
  delayMs: number;
}
export type Requeue = EndedAttempt;

export type ParkedReason = 'no_capable_worker' | 'pool_full';
export interface ParkedClass {
  requiredTypes: string;
  reason: ParkedReason;
  count: number;
}

export type Cancellation =
  | { kind: 'cancelled' }
  | { kind: 'requested'; workerId: string; attempt: number }
  | { kind: 'ended'; state: TerminalState };

export interface DueTask extends TaskRef {
  flowId: string;
  priority: Priority;
  requiredTypes: string;
  request: string;
  timeoutMs: number;
  maxAttempts: number;
  pastAttempts: AttemptRecord[];
}

export interface HeldExecution extends HeldTaskRef {
  state: 'assigned' | 'running';
  maxAttempts: number;
  pastAttempts: AttemptRecord[];
  requiredTypes: string;
  cancelRequested: boolean;
  assignedAt: number;
}

export interface AttemptRecord {
  attempt: number;
  workerId: string | null;
  outcome: string;
  queuedAt: number | null;
  assignedAt: number | null;
  startedAt: number | null;
  finishedAt: number | null;
  error: Failure | null;
}

/** The part of a task that stays the same from attempt to attempt. */
export interface TaskContent {
  flowId: string;
  maxAttempts: number;
  timeoutMs: number;
  /** JSON text of `{flowData, inputs}`. */
  request: string;
}

export interface ExecutionRecord {
  executionId: string;
  flowId: string;
  state: ExecutionState;
  attempt: number;
  maxAttempts: number;
  priority: Priority;
  workerId: string | null;
  requiredTypes: string;
  request: string;
  labels: Record<string, string>;
  timeoutMs: number;
  backoff: Backoff | null;
  parkedReason: ParkedReason | null;
  cancelRequestedAt: number | null;
  createdAt: number;
  availableAt: number | null;
  expiresAt: number | null;
  queuedAt: number | null;
  assignedAt: number | null;
  startedAt: number | null;
  finishedAt: number | null;
  durationMs: number | null;
  /** JSON text. */
  result: string | null;
  error: Failure | null;
  timeline: NodeTimelineEntry[] | null;
  pastAttempts: AttemptRecord[];
}

/** What a list shows: everything but the bulky columns. */
export type ExecutionSummary = Omit<ExecutionRecord, 'request' | 'result' | 'timeline' | 'pastAttempts'>;

export interface ExecutionFilter {
  states?: ExecutionState[];
  flowId?: string;
  workerId?: string;
  priority?: Priority;
  /** All must match. */
  labels?: Record<string, string>;
  /** Epoch ms, inclusive. */
  createdAfter?: number;
  /** Epoch ms, exclusive. */
  createdBefore?: number;
}

export interface ExecutionPage {
  items: ExecutionSummary[];
  nextCursor: string | null;
}

export interface NewDeadLetter {
  /** Which queue it came from. */
  source: string;
  exchange: string;
  routingKey: string;
  reason: string;
  messageType: string | null;
  executionId: string | null;
  headers: Record<string, unknown>;
  /** Base64. */
  body: string;
}
export interface DeadLetter extends NewDeadLetter {
  id: string;
  at: number;
}

export interface Lease {
  holder: string;
  epoch: number;
  /** Until it ends, by the store's clock, measured at the answer. */
  remainingMs: number;
}

export interface ScalingRecord {
  workerClass: string;
  /** Null = nobody has decided on a size yet. */
  desired: number | null;
  /** How long ago `desired` was set, by the store's clock, measured at the answer; null with it. */
  desiredAgeMs: number | null;
  /** Null = as configured. */
  minWorkers: number | null;
  maxWorkers: number | null;
  paused: boolean;
  /** Why `desired` is what it is, for people. */
  reason: string;
  /** Rises with every write. */
  revision: number;
  updatedAt: number;
}

export interface DecidedSize {
  workerClass: string;
  desired: number;
  reason: string;
  /** Of the record that the decision went by; 0 = there was none. */
  revision: number;
}

export type ScalingChange =
  | { desired: number; reason: string }
  | Pick<ScalingRecord, 'minWorkers' | 'maxWorkers'>
  | { paused: boolean };
