import { type RawBuilder, sql } from 'kysely';

/**
 * `past_attempts` with the row's current attempt appended. `entry` is the start of its record as JSON, without the
 * closing brace; the times are added here, as only the row knows them.
 */
export function appendAttempt(entry: RawBuilder<unknown>): RawBuilder<string> {
  return sql<string>`coalesce(executions.past_attempts || ',', '') || ${entry}
    || ',"queuedAt":' || coalesce(cast(executions.queued_at as text), 'null')
    || ',"assignedAt":' || coalesce(cast(executions.assigned_at as text), 'null')
    || ',"startedAt":' || coalesce(cast(executions.started_at as text), 'null')
    || ',"finishedAt":' || cast(coalesce(executions.finished_at, clock.now) as text) || '}'`;
}
