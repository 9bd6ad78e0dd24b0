import { type RawBuilder, sql } from 'kysely';

/**
 * When an attempt that ends now began: as recorded, else (a worker does not announce what ends at once) worked out
 * from how long it ran; null if it never did.
 */
export const startOfAttempt = sql`coalesce(executions.started_at, clock.now - cast(given.duration_ms as bigint))`;

/**
 * `past_attempts` with the row's current attempt appended. `entry` is the start of its record as JSON, without the
 * closing brace; the times are added here, as only the row knows them.
 */
export function appendAttempt(
  entry: RawBuilder<unknown>,
  startedAt: RawBuilder<unknown> = sql`executions.started_at`,
): RawBuilder<string> {
  return sql<string>`coalesce(executions.past_attempts || ',', '') || ${entry}
    || ',"queuedAt":' || coalesce(cast(executions.queued_at as text), 'null')
    || ',"assignedAt":' || coalesce(cast(executions.assigned_at as text), 'null')
    || ',"startedAt":' || coalesce(cast(${startedAt} as text), 'null')
    || ',"finishedAt":' || cast(coalesce(executions.finished_at, clock.now) as text) || '}'`;
}
