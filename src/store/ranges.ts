import { type RawBuilder, sql } from 'kysely';
import { PRIORITIES, type Priority } from '../queue/priority.js';
import { priorityRank } from './rows.js';
import type { ExecutionState } from './transitions.js';

/**
 * Ordered queries over several states are made of one short range for each state (and priority), merged afterwards.
 * Each range is read from the end of an index and stops at its own limit, so that the cost does not depend on how
 * many executions there are or how they are spread; a plain `state in (…) order by created_at` would walk or sort them.
 *
 * `range` selects one range with its order and limit, given the condition that makes it one.
 */
export function eachRange(
  states: readonly ExecutionState[],
  range: (condition: RawBuilder<boolean>) => RawBuilder<unknown>,
  priorities: readonly (Priority | 'any')[] = PRIORITIES,
): RawBuilder<unknown> {
  const ranges = states.flatMap((state) =>
    priorities.map((priority) => sql`select * from (${range(condition(state, priority))}) as one_range`),
  );
  return sql.join(ranges, sql` union all `);
}

function condition(state: ExecutionState, priority: Priority | 'any'): RawBuilder<boolean> {
  const ofState = `executions.state = '${state}'`;
  return sql.raw(
    priority === 'any' ? ofState : `${ofState} and executions.priority = ${priorityRank(priority)}`,
  );
}
