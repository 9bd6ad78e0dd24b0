import { type RawBuilder, sql } from 'kysely';
import { PRIORITIES, type Priority } from '../queue/priority.js';
import { priorityRank } from './rows.js';
import { NOT_HELD } from './transition-sql.js';
import type { ExecutionState } from './transitions.js';

/** The condition that makes one range of an index. */
export type Range = RawBuilder<boolean>;

/**
 * Ordered queries over several states are made of one short range for each state (and priority), merged afterwards.
 * Each range is read from the end of an index and stops at its own limit, so that the cost does not depend on how
 * many executions there are or how they are spread; a plain `state in (…) order by created_at` would walk or sort them.
 *
 * `select` reads one range with its order and limit.
 */
export function eachRange(
  ranges: readonly Range[],
  select: (range: Range) => RawBuilder<unknown>,
): RawBuilder<unknown> {
  const selects = ranges.map((range) => sql`select * from (${select(range)}) as one_range`);
  return sql.join(selects, sql` union all `);
}

/** Ranges of the index by state. */
export function rangesOf(
  states: readonly ExecutionState[],
  priorities: readonly Priority[] = PRIORITIES,
): Range[] {
  return states.flatMap((state) =>
    priorities.map((priority) => sql.raw<boolean>(`${stateIs(state)} and ${priorityIs(priority)}`)),
  );
}

/** Ranges of the indexes by flow and by worker, which hold nothing that is in one of `HELD_STATES`. */
export function rangesWithin(states: readonly ExecutionState[], priority?: Priority): Range[] {
  const further = priority === undefined ? '' : ` and ${priorityIs(priority)}`;
  return states.map((state) => sql.raw<boolean>(`${stateIs(state)} and executions.${NOT_HELD}${further}`));
}

function stateIs(state: ExecutionState): string {
  return `executions.state = '${state}'`;
}

function priorityIs(priority: Priority): string {
  return `executions.priority = ${priorityRank(priority)}`;
}
