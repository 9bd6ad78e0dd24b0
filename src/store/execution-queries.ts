import { sql } from 'kysely';
import type {
  DueTask,
  ExecutionRecord,
  HeldExecution,
  ParkedClass,
  ParkedReason,
} from './execution-store.js';
import { priorityOf, RECORD_COLUMNS, toPastAttempts, toRecord } from './rows.js';
import type { StoreSession } from './store-session.js';
import { isIn, literals, stateIn } from './transition-sql.js';
import {
  EXECUTION_STATES,
  type ExecutionState,
  HELD_STATES,
  isTerminal,
  TERMINAL_STATES,
} from './transitions.js';

const COUNTED_STATES = EXECUTION_STATES.filter((state) => !isTerminal(state) || state === 'dead');

interface DueRow {
  execution_id: string;
  attempt: number;
  flow_id: string;
  priority: number;
  required_types: string;
  /** Null for the one after the due ones, of which only the time matters. */
  request: string | null;
  timeout_ms: number;
  max_attempts: number;
  past_attempts: string | null;
  wait_ms: number;
}

/** What the record answers without changing anything; the list has a file of its own. */
export class ExecutionQueries {
  constructor(private readonly session: StoreSession) {}

  async due(limit: number, except: string[]): Promise<{ tasks: DueTask[]; nextInMs: number | null }> {
    const { dialect } = this.session;
    const key = sql.id(dialect.key);
    // One more than asked for: the first that is not answered says how long to wait.
    const rows = await this.session.rows(sql<DueRow>`
      with clock as materialized (select ${dialect.now()} as now), next as materialized (
        select ${key} as key from executions
        where available_at is not null and execution_id not in (${dialect.texts(except)})
        order by available_at, seq limit ${limit + 1})
      select executions.execution_id, attempt, flow_id, priority, required_types, timeout_ms, max_attempts,
        past_attempts, available_at - clock.now as wait_ms, case when available_at <= clock.now then request end as request
      from next join executions on executions.${key} = next.key cross join clock
      order by available_at, seq`);
    const tasks = rows.slice(0, limit).flatMap(toDueTask);
    const next = rows[tasks.length];
    return { tasks, nextInMs: next === undefined ? null : Math.max(0, next.wait_ms) };
  }

  async held(): Promise<HeldExecution[]> {
    const { key } = this.session.dialect;
    const rows = await this.session.run((db) =>
      db
        .selectFrom('executions')
        .select([
          'execution_id',
          'attempt',
          'max_attempts',
          'past_attempts',
          'worker_id',
          'state',
          'required_types',
          'cancel_requested_at',
          'assigned_at',
        ])
        // Found in the index first: with the statistics of a record in which nearly all have ended, SQLite would read all.
        .where(key, 'in', db.selectFrom('executions').select(key).where(stateIn(HELD_STATES)))
        .execute(),
    );
    return rows.map((row) => ({
      executionId: row.execution_id,
      attempt: row.attempt,
      maxAttempts: row.max_attempts,
      pastAttempts: toPastAttempts(row.past_attempts),
      // A held execution always has these two: they are written together with its state.
      workerId: row.worker_id ?? '',
      assignedAt: row.assigned_at ?? 0,
      state: row.state as HeldExecution['state'],
      requiredTypes: row.required_types,
      cancelRequested: row.cancel_requested_at !== null,
    }));
  }

  async get(executionId: string): Promise<ExecutionRecord | null> {
    const [row] = await this.session.run((db) =>
      db.selectFrom('executions').select(RECORD_COLUMNS).where('execution_id', '=', executionId).execute(),
    );
    return row === undefined ? null : toRecord(row);
  }

  async ended(executionIds: string[]): Promise<ExecutionRecord[]> {
    if (executionIds.length === 0) return [];
    const ids = sql<string>`(${this.session.dialect.texts(executionIds)})`;
    const rows = await this.session.run((db) =>
      db
        .selectFrom('executions')
        .select(RECORD_COLUMNS)
        .where('execution_id', 'in', ids)
        .where(isIn(TERMINAL_STATES))
        .execute(),
    );
    return rows.map(toRecord);
  }

  async countAhead(executionId: string, atMost: number): Promise<number> {
    const waiting = sql`select 1 from executions as other where other.state = 'queued' and other.parked_reason is null`;
    const [row] = await this.session.rows(sql<{ ahead: number }>`
      with mine as materialized (
        select priority, created_at, seq from executions where execution_id = ${executionId})
      select count(*) as ahead from (
        select * from (${waiting} and other.priority < (select priority from mine) limit ${atMost}) as higher
        union all
        select * from (${waiting} and other.priority = (select priority from mine)
          and (other.created_at, other.seq) < ((select created_at from mine), (select seq from mine))
          limit ${atMost}) as older
      ) as ahead`);
    return Math.min(row?.ahead ?? 0, atMost);
  }

  async countOpen(): Promise<Record<ExecutionState, number>> {
    const rows = await this.session.rows(sql<{ state: ExecutionState; count: number }>`
      select state, count(*) as count from executions where state in (${sql.raw(literals(COUNTED_STATES))}) group by state`);
    const counts = Object.fromEntries(EXECUTION_STATES.map((state) => [state, 0])) as Record<
      ExecutionState,
      number
    >;
    for (const { state, count } of rows) counts[state] = count;
    return counts;
  }

  parkedClasses(): Promise<ParkedClass[]> {
    return this.session.rows(sql<ParkedClass & { reason: ParkedReason }>`
      select required_types as ${sql.id('requiredTypes')}, parked_reason as reason, count(*) as count
      from executions where parked_reason is not null group by required_types, parked_reason
      order by required_types, parked_reason`);
  }
}

function toDueTask(row: DueRow): DueTask[] {
  if (row.request === null) return [];
  return [
    {
      executionId: row.execution_id,
      attempt: row.attempt,
      flowId: row.flow_id,
      priority: priorityOf(row.priority),
      requiredTypes: row.required_types,
      request: row.request,
      timeoutMs: row.timeout_ms,
      maxAttempts: row.max_attempts,
      pastAttempts: toPastAttempts(row.past_attempts),
    },
  ];
}
