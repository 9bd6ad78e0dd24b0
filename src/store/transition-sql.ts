import { type RawBuilder, sql } from 'kysely';
import {
  type ExecutionState,
  HELD_STATES,
  TERMINAL_STATES,
  type TerminalState,
  type TransitionName,
  TRANSITIONS,
} from './transitions.js';

/**
 * The transition table as SQL. States are literals and not parameters: a planner uses a partial index only if it can
 * see that the condition implies the index's own.
 */

/** `'a', 'b'` */
export function literals(states: readonly ExecutionState[]): string {
  return states.map((state) => `'${state}'`).join(', ');
}

/** `executions.state in (…)` */
export function stateIn(states: readonly ExecutionState[]): RawBuilder<boolean> {
  return sql.raw(`executions.state in (${literals(states)})`);
}

/**
 * The same for a row that is looked up by its id. The expression cannot use an index, on purpose: SQLite would
 * otherwise walk all executions in these states for each row of a batch.
 */
export function isIn(states: readonly ExecutionState[]): RawBuilder<boolean> {
  return sql.raw(`(executions.state || '') in (${literals(states)})`);
}

/** The condition of the indexes without what workers hold. A query has to repeat it word for word: SQLite draws no conclusions. */
export const NOT_HELD = `state not in (${literals(HELD_STATES)})`;

/** The condition under which a transition may happen to a row that is looked up by its id. */
export function mayDo(name: TransitionName): RawBuilder<boolean> {
  return isIn(TRANSITIONS[name].from);
}

/** The state in which a transition ends, as a literal. */
export function endOf(name: TransitionName): RawBuilder<ExecutionState> {
  return sql.raw(`'${TRANSITIONS[name].to}'`);
}

/** The transition by which a worker's execution reaches each terminal state. */
export const ENDING = {
  completed: 'complete',
  failed: 'fail',
  cancelled: 'abort',
  dead: 'bury',
} as const satisfies Record<TerminalState, TransitionName>;

/** The condition under which an execution may reach the terminal state named by the column `target`. */
export function mayEndAs(target: string): RawBuilder<boolean> {
  const cases = TERMINAL_STATES.map(
    (state) =>
      `(${target} = '${state}' and (executions.state || '') in (${literals(TRANSITIONS[ENDING[state]].from)}))`,
  );
  return sql.raw(`(${cases.join(' or ')})`);
}
