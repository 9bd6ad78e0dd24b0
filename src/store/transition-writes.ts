import { type RawBuilder, sql } from 'kysely';
import type {
  Assignment,
  ExecutionRecord,
  FinishedAttempt,
  HeldTaskRef,
  ParkedReason,
  Requeue,
  Retry,
  TaskRef,
} from './execution-store.js';
import { type Row, type RowShape, rowShape } from './dialect.js';
import { appendAttempt, startOfAttempt } from './attempt-sql.js';
import { LEADER_LEASE } from './leases.js';
import { inOrder, RECORD_COLUMNS, type RecordRow, storableJson, toJson, toRecord } from './rows.js';
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

const WHOLE_ROW = sql<RecordRow>`${sql.join(RECORD_COLUMNS.map((column) => sql.ref(`executions.${column}`)))}`;

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

  async assign(epoch: number, assignments: Assignment[]): Promise<Set<string>> {
    // The lease is read with a lock: once another replica has a higher epoch, no write of a lower one can commit.
    const fence = sql`fence as materialized (
      select 1 as held from leases where name = ${LEADER_LEASE} and epoch = ${epoch} ${this.session.dialect.forShare})`;
    return this.update(HELD_ROW, inOrder(assignments).map(heldRow), {
      with: fence,
      from: sql`fence`,
      set: sql`state = ${endOf('assign')}, worker_id = given.worker_id, assigned_at = clock.now,
        queued_at = coalesce(executions.queued_at, clock.now), available_at = null, parked_reason = null`,
      where: sql`${sameTask} and ${mayDo('assign')}
        and (executions.state <> 'retrying' or executions.available_at <= clock.now)
        and (executions.expires_at is null or executions.expires_at > clock.now)`,
    });
  }

  async markRunning(tasks: HeldTaskRef[]): Promise<void> {
    await this.update(HELD_ROW, inOrder(tasks).map(heldRow), {
      set: sql`state = ${endOf('start')}, started_at = clock.now`,
      where: sql`${sameHolder} and ${mayDo('start')}`,
    });
  }

  /** `complete`, `fail`, `abort` or `bury`. */
  async finish(
    ends: FinishedAttempt[],
    wanted: ReadonlySet<string> = new Set(),
  ): Promise<Map<string, ExecutionRecord | null>> {
    const change: Change<{ execution_id: string }> = {
      set: sql`state = given.state, started_at = ${startOfAttempt}, finished_at = clock.now, duration_ms = given.duration_ms,
        error = case when given.state = ${endOf('abort')} then coalesce(given.error, executions.cancel_error) else given.error end,
        timeline = given.timeline, result = given.result`,
      where: sql`${sameHolder} and ${mayEndAs('given.state')}`,
    };
    if (ends.length === 0) return new Map();
    const rows = inOrder(ends).map(finishedRow);
    if (wanted.size === 0) {
      const changed = await this.session.run((db) => this.updateIn(db, FINISHED_ROW, rows, change));
      return new Map([...changed].map((id) => [id, null]));
    }
    const whole = await this.session.run((db) =>
      this.changeIn(db, FINISHED_ROW, rows, { ...change, returning: WHOLE_ROW }),
    );
    return new Map(
      whole.map((row) => [row.execution_id, wanted.has(row.execution_id) ? toRecord(row) : null]),
    );
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

  private async updateIn(db: Executor, shape: RowShape, rows: Row[], change: Change): Promise<Set<string>> {
    const changed = await this.changeIn(db, shape, rows, change);
    return new Set(changed.map((row) => row.execution_id));
  }

  private async changeIn<T extends { execution_id: string }>(
    db: Executor,
    shape: RowShape,
    rows: Row[],
    change: Change<T>,
  ): Promise<T[]> {
    const { dialect } = this.session;
    const lock = rows.length > 1 ? dialect.lockGiven : null;
    const { rows: changed } = await sql<T>`
      with clock as materialized (select ${dialect.now()} as now), given as (${dialect.rows(shape, rows)})
        ${change.with === undefined ? sql`` : sql`, ${change.with}`} ${lock === null ? sql`` : sql`, ${lock}`}
      update executions set ${change.set}
      from given, clock ${change.from === undefined ? sql`` : sql`, ${change.from}`} ${lock === null ? sql`` : sql`, locked`}
      where ${change.where} ${lock === null ? sql`` : sql`and locked.execution_id = given.execution_id`}
      returning ${change.returning ?? sql`executions.execution_id`}`.execute(db);
    return changed;
  }
}

/** What an update of a batch does, in terms of `executions`, `given` (the batch) and `clock.now`. */
interface Change<T extends { execution_id: string } = { execution_id: string }> {
  /** Default: the id. */
  returning?: RawBuilder<T>;
  with?: RawBuilder<unknown>;
  from?: RawBuilder<unknown>;
  set: RawBuilder<unknown>;
  where: RawBuilder<unknown>;
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
