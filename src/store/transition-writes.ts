import { type RawBuilder, sql } from 'kysely';
import type {
  Assignment,
  ExecutionRecord,
  FinishedAttempt,
  HeldTaskRef,
  ParkedReason,
  Requeue,
  Retry,
  TaskContent,
  TaskRef,
} from './execution-store.js';
import { type Row, type RowShape, rowShape } from './dialect.js';
import { appendAttempt, startOfAttempt } from './attempt-sql.js';
import { LEADER_LEASE } from './leases.js';
import { type ExecutionRow, inOrder, RECORD_COLUMNS, storableJson, toJson, toRecord } from './rows.js';
import type { Executor, StoreSession } from './store-session.js';
import { endOf, isIn, mayDo, mayEndAs } from './transition-sql.js';
import { TRANSITIONS } from './transitions.js';

const TASK_ROW = rowShape({ execution_id: 'text', attempt: 'integer' });
const HELD_ROW = rowShape({ execution_id: 'text', attempt: 'integer', worker_id: 'text' });
const FINISHED_ROW = rowShape({
  execution_id: 'text',
  attempt: 'integer',
  worker_id: 'text',
  state: 'text',
  duration_ms: 'double precision',
  error: 'text',
  timeline: 'text',
  result: 'text',
});
const ENDED_ROW = rowShape({
  execution_id: 'text',
  attempt: 'integer',
  worker_id: 'text',
  counted: 'integer',
  delay_ms: 'bigint',
  duration_ms: 'double precision',
  entry: 'text',
});

/** What a write answers: these columns, the id among them. */
type Answer<C extends keyof ExecutionRow> = Pick<ExecutionRow, C> & { execution_id: string };

interface Wanted<C extends keyof ExecutionRow, T> {
  /** Of these executions it is read. */
  wanted: ReadonlySet<string>;
  columns: readonly C[];
  read: (row: Answer<C>) => T;
}

const NONE: ReadonlySet<string> = new Set();
const ID = sql<{ execution_id: string }>`executions.execution_id`;
const TASK_COLUMNS = ['execution_id', 'flow_id', 'max_attempts', 'timeout_ms', 'request'] as const;
/** One who waits must not have the bodies of a whole batch brought. */
const LARGE_COLUMNS: ReadonlySet<string> = new Set([
  'request',
  'result',
  'timeline',
  'past_attempts',
  'error',
]);

/** The same task, held by the same worker: what every write about an attempt checks. */
const sameTask = sql`executions.execution_id = given.execution_id and executions.attempt = given.attempt`;
const sameHolder = sql`${sameTask} and executions.worker_id = given.worker_id`;

/** The writes by which tasks travel: each is one conditional statement for a whole batch, made from the transition table. */
export class TransitionWrites {
  constructor(private readonly session: StoreSession) {}

  async markQueued(tasks: TaskRef[]): Promise<void> {
    await this.update(TASK_ROW, inOrder(tasks).map(taskRow), {
      set: sql`state = ${endOf('queue')}, queued_at = clock.now, available_at = null`,
      where: sql`${sameTask} and (${mayDo('queue')}
        or (${isIn([TRANSITIONS.queue.to])} and executions.available_at is not null))`,
    });
  }

  async postpone(tasks: TaskRef[], byMs: number): Promise<void> {
    await this.update(TASK_ROW, inOrder(tasks).map(taskRow), {
      set: sql`available_at = clock.now + ${byMs}`,
      where: sql`${sameTask} and ${isIn([TRANSITIONS.queue.to])} and executions.available_at is not null`,
    });
  }

  assign(
    epoch: number,
    assignments: Assignment[],
    wanted: ReadonlySet<string> = NONE,
  ): Promise<Map<string, TaskContent | null>> {
    // The lease is read with a lock: once another replica has a higher epoch, no write of a lower one can commit.
    const fence = sql`fence as materialized (
      select 1 as held from leases where name = ${LEADER_LEASE} and epoch = ${epoch} ${this.session.dialect.forShare})`;
    const change: Change = {
      with: fence,
      from: sql`fence`,
      set: sql`state = ${endOf('assign')}, worker_id = given.worker_id, assigned_at = clock.now,
        queued_at = coalesce(executions.queued_at, clock.now), available_at = null, parked_reason = null`,
      where: sql`${sameTask} and ${mayDo('assign')}
        and (executions.state <> 'retrying' or executions.available_at <= clock.now)
        and (executions.expires_at is null or executions.expires_at > clock.now)`,
    };
    return this.updateAndRead(HELD_ROW, inOrder(assignments).map(heldRow), change, {
      wanted,
      columns: TASK_COLUMNS,
      read: toTaskContent,
    });
  }

  async markRunning(tasks: HeldTaskRef[]): Promise<void> {
    await this.update(HELD_ROW, inOrder(tasks).map(heldRow), {
      set: sql`state = ${endOf('start')}, started_at = clock.now`,
      where: sql`${sameHolder} and ${mayDo('start')}`,
    });
  }

  /** `complete`, `fail`, `abort` or `bury`. */
  finish(
    ends: FinishedAttempt[],
    wanted: ReadonlySet<string> = NONE,
  ): Promise<Map<string, ExecutionRecord | null>> {
    const change: Change = {
      set: sql`state = given.state, started_at = ${startOfAttempt}, finished_at = clock.now, duration_ms = given.duration_ms,
        error = case when given.state = ${endOf('abort')} then coalesce(given.error, executions.cancel_error) else given.error end,
        timeline = given.timeline, result = given.result`,
      where: sql`${sameHolder} and ${mayEndAs('given.state')}`,
    };
    return this.updateAndRead(FINISHED_ROW, inOrder(ends).map(finishedRow), change, {
      wanted,
      columns: RECORD_COLUMNS,
      read: toRecord,
    });
  }

  retryLater(retries: Retry[]): Promise<Set<string>> {
    return this.giveUpAttempt(
      inOrder(retries).map((retry) => endedRow(retry, retry.delayMs)),
      sql`state = ${endOf('retry')}, queued_at = null`,
      mayDo('retry'),
    );
  }

  requeue(requeues: Requeue[]): Promise<Set<string>> {
    return this.giveUpAttempt(
      inOrder(requeues).map((requeue) => endedRow(requeue, 0)),
      sql`state = ${endOf('requeue')}, queued_at = clock.now`,
      mayDo('requeue'),
    );
  }

  park(tasks: TaskRef[], reason: ParkedReason): Promise<Set<string>> {
    return this.update(TASK_ROW, inOrder(tasks).map(taskRow), {
      set: sql`state = ${endOf('queue')}, queued_at = coalesce(executions.queued_at, clock.now), available_at = null,
        parked_reason = ${reason}`,
      where: sql`${sameTask} and ${isIn([...TRANSITIONS.queue.from, TRANSITIONS.queue.to])}`,
    });
  }

  /**
   * Ends an attempt without ending the execution. One whose cancel was asked for meanwhile does not get another
   * attempt: it is aborted here, in the same transaction, as no worker is left to do it.
   */
  private giveUpAttempt(
    rows: Row[],
    set: RawBuilder<unknown>,
    allowed: RawBuilder<boolean>,
  ): Promise<Set<string>> {
    if (rows.length === 0) return Promise.resolve(new Set());
    return this.session.transaction(async (trx) => {
      const changed = await this.updateIn(trx, ENDED_ROW, rows, {
        set: sql`${set}, attempt = executions.attempt + given.counted, available_at = clock.now + given.delay_ms,
          past_attempts = ${appendAttempt(sql`given.entry`, startOfAttempt)}, worker_id = null, assigned_at = null, started_at = null`,
        where: sql`${sameHolder} and ${allowed} and executions.cancel_requested_at is null`,
      });
      if (changed.size < rows.length) {
        await this.updateIn(trx, ENDED_ROW, rows, {
          set: sql`state = ${endOf('abort')}, finished_at = clock.now, error = executions.cancel_error`,
          where: sql`${sameHolder} and ${mayDo('abort')} and executions.cancel_requested_at is not null`,
        });
      }
      return changed;
    });
  }

  private async update(shape: RowShape, rows: Row[], change: Change): Promise<Set<string>> {
    return rows.length === 0 ? new Set() : this.session.run((db) => this.updateIn(db, shape, rows, change));
  }

  /** Reads what is wanted with the write itself, which saves a round trip; the statement without it is the cheaper one. */
  private async updateAndRead<C extends keyof ExecutionRow & string, T>(
    shape: RowShape,
    rows: Row[],
    change: Change,
    { wanted, columns, read }: Wanted<C, T>,
  ): Promise<Map<string, T | null>> {
    if (wanted.size === 0) {
      return new Map([...(await this.update(shape, rows, change))].map((id) => [id, null]));
    }
    const returning = this.columnsOf(columns, wanted.size < rows.length ? wanted : null);
    const changed = await this.session.run((db) => this.changeIn(db, shape, rows, change, returning));
    return new Map(changed.map((row) => [row.execution_id, wanted.has(row.execution_id) ? read(row) : null]));
  }

  /** @param wanted of which rows the large columns are read; null = of all */
  private columnsOf<C extends keyof ExecutionRow & string>(
    columns: readonly C[],
    wanted: ReadonlySet<string> | null,
  ): RawBuilder<Answer<C>> {
    const ids = wanted && this.session.dialect.texts([...wanted]);
    const read = columns.map((name) => {
      const column = sql.ref(`executions.${name}`);
      return ids && LARGE_COLUMNS.has(name)
        ? sql`case when executions.execution_id in (${ids}) then ${column} end as ${sql.id(name)}`
        : column;
    });
    return sql<Answer<C>>`${sql.join(read)}`;
  }

  private async updateIn(db: Executor, shape: RowShape, rows: Row[], change: Change): Promise<Set<string>> {
    const changed = await this.changeIn(db, shape, rows, change, ID);
    return new Set(changed.map((row) => row.execution_id));
  }

  private async changeIn<T extends { execution_id: string }>(
    db: Executor,
    shape: RowShape,
    rows: Row[],
    change: Change,
    returning: RawBuilder<T>,
  ): Promise<T[]> {
    const { dialect } = this.session;
    const lock = rows.length > 1 ? dialect.lockGiven : null;
    const { rows: changed } = await sql<T>`
      with clock as materialized (select ${dialect.now()} as now), given as (${dialect.rows(shape, rows)})
        ${change.with === undefined ? sql`` : sql`, ${change.with}`} ${lock === null ? sql`` : sql`, ${lock}`}
      update executions set ${change.set}
      from given, clock ${change.from === undefined ? sql`` : sql`, ${change.from}`} ${lock === null ? sql`` : sql`, locked`}
      where ${change.where} ${lock === null ? sql`` : sql`and locked.execution_id = given.execution_id`}
      returning ${returning}`.execute(db);
    return changed;
  }
}

/** What an update of a batch does, in terms of `executions`, `given` (the batch) and `clock.now`. */
interface Change {
  with?: RawBuilder<unknown>;
  from?: RawBuilder<unknown>;
  set: RawBuilder<unknown>;
  where: RawBuilder<unknown>;
}

function toTaskContent(row: Answer<(typeof TASK_COLUMNS)[number]>): TaskContent {
  return {
    flowId: row.flow_id,
    maxAttempts: row.max_attempts,
    timeoutMs: row.timeout_ms,
    request: row.request,
  };
}

function taskRow({ executionId, attempt }: TaskRef): Row {
  return { execution_id: executionId, attempt };
}

function heldRow({ executionId, attempt, workerId }: HeldTaskRef): Row {
  return { execution_id: executionId, attempt, worker_id: workerId };
}

function finishedRow(end: FinishedAttempt): Row {
  return {
    ...heldRow(end),
    state: end.state,
    duration_ms: end.durationMs,
    error: toJson(end.error),
    timeline: toJson(end.timeline),
    result: end.result === null ? null : storableJson(end.result),
  };
}

function endedRow(ended: Requeue, delayMs: number): Row {
  const { attempt, workerId, outcome, error } = ended;
  return {
    ...heldRow(ended),
    counted: ended.countAttempt ? 1 : 0,
    delay_ms: delayMs,
    duration_ms: ended.durationMs,
    entry: JSON.stringify({ attempt, workerId, outcome, error }).slice(0, -1),
  };
}
