import { type RawBuilder, sql } from 'kysely';
import type { Failure } from '../queue/contracts/reports.js';
import type { Cancellation } from './execution-store.js';
import { appendAttempt } from './attempt-sql.js';
import type { StoreSession } from './store-session.js';
import { endOf, isIn, mayDo, stateIn } from './transition-sql.js';
import { type ExecutionState, HELD_STATES, isHeld, isTerminal, TRANSITIONS } from './transitions.js';

/** What people ask for, and what is found by a condition rather than by id: rarer than the travel of tasks. */
export class OccasionalWrites {
  constructor(private readonly session: StoreSession) {}

  cancel(executionId: string, reason: string): Promise<Cancellation | null> {
    const { dialect } = this.session;
    const failure = failureJson('cancelled', reason);
    return this.session.transaction(async (trx) => {
      const found = await sql<{ state: ExecutionState; attempt: number; worker_id: string }>`
        select state, attempt, worker_id from executions
        where execution_id = ${executionId} ${dialect.forUpdate}`.execute(trx);
      const [row] = found.rows;
      if (row === undefined) return null;
      if (isTerminal(row.state)) return { kind: 'ended', state: row.state };
      await sql`
        update executions set
          cancel_requested_at = coalesce(cancel_requested_at, ${dialect.now()}),
          cancel_error = coalesce(cancel_error, ${failure})
        where execution_id = ${executionId} and ${isIn(HELD_STATES)}`.execute(trx);
      await sql`
        update executions set ${endWaiting(dialect.now(), failure)}
        where execution_id = ${executionId} and ${mayDo('cancel')}`.execute(trx);
      return isHeld(row.state)
        ? { kind: 'requested', workerId: row.worker_id, attempt: row.attempt }
        : { kind: 'cancelled' };
    });
  }

  async replay(executionIds: string[]): Promise<Set<string>> {
    if (executionIds.length === 0) return new Set();
    const { dialect } = this.session;
    const worker = sql.ref('executions.worker_id');
    const entry = sql`'{"attempt":' || cast(executions.attempt as text)
      || ',"workerId":' || coalesce(${dialect.jsonString(worker)}, 'null')
      || ',"outcome":"' || executions.state || '","error":' || coalesce(executions.error, 'null')`;
    return this.ids(sql`
      with clock as materialized (select ${dialect.now()} as now)
      update executions set
        state = ${endOf('replay')}, attempt = attempt + 1, max_attempts = max_attempts + attempts_per_series,
        past_attempts = ${appendAttempt(entry)},
        available_at = clock.now, queued_at = clock.now,
        expires_at = case when expires_at > clock.now then expires_at end,
        assigned_at = null, started_at = null, finished_at = null, cancel_requested_at = null, duration_ms = null,
        worker_id = null, cancel_error = null, error = null, timeline = null, result = null
      from clock
      where execution_id in (${dialect.texts([...executionIds].toSorted())}) and ${mayDo('replay')}
      returning execution_id`);
  }

  async expire(limit: number): Promise<string[]> {
    const { dialect } = this.session;
    const failure = failureJson('expired', 'it was still waiting when its expiresAt came');
    const expired = await this.ids(sql`
      update executions set ${endWaiting(dialect.now(), failure)}
      where ${mayDo('cancel')} and execution_id in (
        select execution_id from executions
        where expires_at is not null and ${stateIn(TRANSITIONS.cancel.from)} and expires_at <= ${dialect.now()}
        order by expires_at limit ${limit} ${dialect.forUpdateSkipLocked})
      returning execution_id`);
    return [...expired];
  }

  /** One short ordered range for each class, so that the parked ones of other classes are never walked through. */
  async unpark(requiredTypes: string[], limit: number): Promise<number> {
    if (requiredTypes.length === 0) return 0;
    const { dialect } = this.session;
    const ranges = [...new Set(requiredTypes)].map(
      (types) => sql`select * from (
        select execution_id, priority, created_at, seq from executions
        where parked_reason is not null and substr(required_types, 1, 200) = ${types.slice(0, 200)}
          and required_types = ${types}
        order by priority, created_at, seq limit ${limit}) as one_class`,
    );
    const unparked = await this.ids(sql`
      update executions set parked_reason = null, available_at = ${dialect.now()}
      where parked_reason is not null and execution_id in (
        select execution_id from (${sql.join(ranges, sql` union all `)}) as parked
        order by priority, created_at, seq limit ${limit})
      returning execution_id`);
    return unparked.size;
  }

  async requeueMissing(olderThanMs: number, known: string[]): Promise<number> {
    const { dialect } = this.session;
    const missing = await this.ids(sql`
      with clock as materialized (select ${dialect.now()} as now)
      update executions set available_at = clock.now
      from clock
      where state = 'queued' and parked_reason is null and available_at is null
        and queued_at < clock.now - ${olderThanMs} and execution_id not in (${dialect.texts(known)})
      returning execution_id`);
    return missing.size;
  }

  private async ids(statement: RawBuilder<unknown>): Promise<Set<string>> {
    const rows = await this.session.rows(statement as RawBuilder<{ execution_id: string }>);
    return new Set(rows.map((row) => row.execution_id));
  }
}

function endWaiting(now: RawBuilder<number>, failure: string): RawBuilder<unknown> {
  return sql`state = ${endOf('cancel')}, finished_at = ${now}, available_at = null, parked_reason = null, error = ${failure}`;
}

function failureJson(code: string, message: string): string {
  return JSON.stringify({ code, message, retryable: false } satisfies Failure);
}
