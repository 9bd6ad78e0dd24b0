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
import { Place, type Row, type RowShape, rowShape } from './batch-rows.js';
import { BatchStatement, type BatchWrite, type Values } from './batch-statement.js';
import { LEADER_LEASE } from './leases.js';
import { type ExecutionRow, type Keyed, RECORD_COLUMNS, storableJson, toJson, toRecord } from './rows.js';
import type { StoreSession } from './store-session.js';
import {
  ABORT,
  ASSIGN,
  type Change,
  FINISH,
  PARK,
  POSTPONE,
  QUEUE,
  REQUEUE,
  RETRY,
  START,
} from './transition-changes.js';

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

/** A statement, and what of the executions it took it can be asked for. */
interface Reading<Item extends Keyed, R extends { execution_id: string }> {
  statement: BatchStatement<Item>;
  /** Of all of them. */
  all: RawBuilder<R>;
  /** Without the large columns of those that are not at the place `wanted`. */
  some: RawBuilder<R>;
}

/** What a write answers: these columns, the id among them. */
type Answer<C extends keyof ExecutionRow> = Pick<ExecutionRow, C> & { execution_id: string };

const NONE: ReadonlySet<string> = new Set();
const TASK_COLUMNS = ['execution_id', 'flow_id', 'max_attempts', 'timeout_ms', 'request'] as const;
/** One who waits must not have the bodies of a whole batch brought. */
const LARGE_COLUMNS: ReadonlySet<string> = new Set([
  'request',
  'result',
  'timeline',
  'past_attempts',
  'error',
]);

/** The writes by which tasks travel: each is one conditional statement for a whole batch, made from the transition table. */
export class TransitionWrites {
  private readonly queueing: BatchStatement<TaskRef>;
  private readonly postponing: BatchStatement<TaskRef>;
  private readonly parking: BatchStatement<TaskRef>;
  private readonly starting: BatchStatement<HeldTaskRef>;
  private readonly assigning: Reading<Assignment, Answer<(typeof TASK_COLUMNS)[number]>>;
  private readonly finishing: Reading<FinishedAttempt, Answer<(typeof RECORD_COLUMNS)[number]>>;
  private readonly retrying: BatchStatement<Retry>;
  private readonly requeueing: BatchStatement<Requeue>;
  private readonly aborting: BatchStatement<Requeue>;

  constructor(private readonly session: StoreSession) {
    const { dialect } = session;
    const update = <Item extends Keyed>(
      shape: RowShape,
      toRow: (item: Item) => Row,
      change: Change,
    ): BatchStatement<Item> => new BatchStatement(session, shape, toRow, updating(change));
    const reading = <Item extends Keyed, C extends keyof ExecutionRow & string>(
      statement: BatchStatement<Item>,
      columns: readonly C[],
    ): Reading<Item, Answer<C>> => ({
      statement,
      all: columnsOf(columns, null),
      some: columnsOf(columns, dialect.texts(new Place('wanted'))),
    });
    // The lease is read with a lock: once another replica has a higher epoch, no write of a lower one can commit.
    const fence = sql`fence as materialized (
      select 1 as held from leases where name = ${LEADER_LEASE} and epoch = ${new Place('epoch')} ${dialect.forShare})`;

    this.queueing = update(TASK_ROW, taskRow, QUEUE);
    this.postponing = update(TASK_ROW, taskRow, POSTPONE);
    this.parking = update(TASK_ROW, taskRow, PARK);
    this.starting = update(HELD_ROW, heldRow, START);
    this.assigning = reading(update(HELD_ROW, heldRow, { ...ASSIGN, with: fence }), TASK_COLUMNS);
    this.finishing = reading(update(FINISHED_ROW, finishedRow, FINISH), RECORD_COLUMNS);
    this.retrying = update(ENDED_ROW, retriedRow, RETRY);
    this.requeueing = update(ENDED_ROW, requeuedRow, REQUEUE);
    this.aborting = update(ENDED_ROW, requeuedRow, ABORT);
  }

  markQueued(tasks: TaskRef[]): Promise<void> {
    return this.queueing.run(tasks);
  }

  postpone(tasks: TaskRef[], byMs: number): Promise<void> {
    return this.postponing.run(tasks, { byMs });
  }

  assign(
    epoch: number,
    assignments: Assignment[],
    wanted: ReadonlySet<string> = NONE,
  ): Promise<Map<string, TaskContent | null>> {
    return takeAndRead(this.assigning, assignments, { epoch }, wanted, toTaskContent);
  }

  markRunning(tasks: HeldTaskRef[]): Promise<void> {
    return this.starting.run(tasks);
  }

  /** `complete`, `fail`, `abort` or `bury`. */
  finish(
    ends: FinishedAttempt[],
    wanted: ReadonlySet<string> = NONE,
  ): Promise<Map<string, ExecutionRecord | null>> {
    return takeAndRead(this.finishing, ends, {}, wanted, toRecord);
  }

  retryLater(retries: Retry[]): Promise<Set<string>> {
    return this.giveUpAttempts(this.retrying, retries);
  }

  requeue(requeues: Requeue[]): Promise<Set<string>> {
    return this.giveUpAttempts(this.requeueing, requeues);
  }

  async park(tasks: TaskRef[], reason: ParkedReason): Promise<Set<string>> {
    return (await this.parking.take(tasks, { reason })) ?? idsOf(tasks);
  }

  /**
   * Ends attempts without ending their executions. One whose cancel was asked for meanwhile does not get another
   * attempt: it is aborted here, in the same transaction, as no worker is left to do it.
   */
  private async giveUpAttempts<Item extends Requeue>(
    statement: BatchStatement<Item>,
    items: Item[],
  ): Promise<Set<string>> {
    if (items.length === 0) return new Set();
    return this.session.transaction(async (trx) => {
      const changed = await statement.take(items, {}, trx);
      if (changed === null) return idsOf(items);
      await this.aborting.take(items, {}, trx);
      return changed;
    });
  }
}

/** Reads what is wanted with the write itself, which saves a round trip; the statement without it is the cheaper one. */
async function takeAndRead<Item extends Keyed, R extends { execution_id: string }, T>(
  { statement, all, some }: Reading<Item, R>,
  items: Item[],
  values: Values,
  wanted: ReadonlySet<string>,
  read: (row: R) => T,
): Promise<Map<string, T | null>> {
  const answer = new Map<string, T | null>();
  if (wanted.size === 0) {
    const taken = await statement.take(items, values);
    for (const id of taken ?? idsOf(items)) answer.set(id, null);
    return answer;
  }
  const rows =
    wanted.size < items.length
      ? await statement.read(items, some, { ...values, wanted: JSON.stringify([...wanted]) })
      : await statement.read(items, all, values);
  for (const row of rows) answer.set(row.execution_id, wanted.has(row.execution_id) ? read(row) : null);
  return answer;
}

/** @param wanted the ids of those whose large columns are read; null = of all */
function columnsOf<C extends keyof ExecutionRow & string>(
  columns: readonly C[],
  wanted: RawBuilder<unknown> | null,
): RawBuilder<Answer<C>> {
  const read = columns.map((name) => {
    const column = sql.ref(`executions.${name}`);
    return wanted !== null && LARGE_COLUMNS.has(name)
      ? sql`case when executions.execution_id in (${wanted}) then ${column} end as ${sql.id(name)}`
      : column;
  });
  return sql<Answer<C>>`${sql.join(read)}`;
}

function updating(change: Change): BatchWrite {
  return {
    with: change.with === undefined ? [] : [change.with],
    write: sql`update executions set ${change.set}
      from given, clock ${change.from === undefined ? sql`` : sql`, ${change.from}`} where ${change.where}`,
  };
}

function idsOf(items: readonly Keyed[]): Set<string> {
  const ids = new Set<string>();
  for (const { executionId } of items) ids.add(executionId);
  return ids;
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

/** Written out: a copy with additions costs several times as much. */
function finishedRow(end: FinishedAttempt): Row {
  return {
    execution_id: end.executionId,
    attempt: end.attempt,
    worker_id: end.workerId,
    state: end.state,
    duration_ms: end.durationMs,
    error: toJson(end.error),
    timeline: toJson(end.timeline),
    result: end.result === null ? null : storableJson(end.result),
  };
}

function retriedRow(retry: Retry): Row {
  return endedRow(retry, retry.delayMs);
}

function requeuedRow(requeue: Requeue): Row {
  return endedRow(requeue, 0);
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
