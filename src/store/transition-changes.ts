import { type RawBuilder, sql } from 'kysely';
import { appendAttempt, startOfAttempt } from './attempt-sql.js';
import { Place } from './batch-rows.js';
import { endOf, isIn, mayDo, mayEndAs } from './transition-sql.js';
import { TRANSITIONS } from './transitions.js';

/** What an update of a batch does, in terms of `executions`, `given` (the batch) and `clock.now`. */
export interface Change {
  with?: RawBuilder<unknown>;
  from?: RawBuilder<unknown>;
  set: RawBuilder<unknown>;
  where: RawBuilder<unknown>;
}

/** The same task, held by the same worker: what every write about an attempt checks. */
const sameTask = sql`executions.execution_id = given.execution_id and executions.attempt = given.attempt`;
/**
 * PostgreSQL uses no index for this comparison, which is wanted: its plan would walk all that the worker ever had. Not an
 * expression, as in `isIn`: with more than 200 rows SQLite would look through the whole table for equal ones.
 */
const sameHolder = sql`${sameTask} and executions.worker_id is not distinct from given.worker_id`;

export const QUEUE: Change = {
  set: sql`state = ${endOf('queue')}, queued_at = clock.now, available_at = null`,
  where: sql`${sameTask} and (${mayDo('queue')}
    or (${isIn([TRANSITIONS.queue.to])} and executions.available_at is not null))`,
};
export const POSTPONE: Change = {
  set: sql`available_at = clock.now + ${new Place('byMs')}`,
  where: sql`${sameTask} and ${isIn([TRANSITIONS.queue.to])} and executions.available_at is not null`,
};
export const PARK: Change = {
  set: sql`state = ${endOf('queue')}, queued_at = coalesce(executions.queued_at, clock.now), available_at = null,
    parked_reason = ${new Place('reason')}`,
  where: sql`${sameTask} and ${isIn([...TRANSITIONS.queue.from, TRANSITIONS.queue.to])}`,
};
/** Its `fence` is the lease. */
export const ASSIGN: Change = {
  from: sql`fence`,
  set: sql`state = ${endOf('assign')}, worker_id = given.worker_id, assigned_at = clock.now,
    queued_at = coalesce(executions.queued_at, clock.now), available_at = null, parked_reason = null`,
  where: sql`${sameTask} and ${mayDo('assign')}
    and (executions.state <> 'retrying' or executions.available_at <= clock.now)
    and (executions.expires_at is null or executions.expires_at > clock.now)`,
};
export const START: Change = {
  set: sql`state = ${endOf('start')}, started_at = clock.now`,
  where: sql`${sameHolder} and ${mayDo('start')}`,
};
export const FINISH: Change = {
  set: sql`state = given.state, started_at = ${startOfAttempt}, finished_at = clock.now, duration_ms = given.duration_ms,
    error = case when given.state = ${endOf('abort')} then coalesce(given.error, executions.cancel_error) else given.error end,
    timeline = given.timeline, result = given.result`,
  where: sql`${sameHolder} and ${mayEndAs('given.state')}`,
};
export const RETRY = nextAttempt(sql`state = ${endOf('retry')}, queued_at = null`, mayDo('retry'));
export const REQUEUE = nextAttempt(sql`state = ${endOf('requeue')}, queued_at = clock.now`, mayDo('requeue'));
export const ABORT: Change = {
  set: sql`state = ${endOf('abort')}, finished_at = clock.now, error = executions.cancel_error`,
  where: sql`${sameHolder} and ${mayDo('abort')} and executions.cancel_requested_at is not null`,
};

/** The end of an attempt that is not the end of its execution. */
function nextAttempt(set: RawBuilder<unknown>, allowed: RawBuilder<boolean>): Change {
  return {
    set: sql`${set}, attempt = executions.attempt + given.counted, available_at = clock.now + given.delay_ms,
      past_attempts = ${appendAttempt(sql`given.entry`, startOfAttempt)}, worker_id = null, assigned_at = null, started_at = null`,
    where: sql`${sameHolder} and ${allowed} and executions.cancel_requested_at is null`,
  };
}
