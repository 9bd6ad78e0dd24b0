import { describe, expect, it } from '@jest/globals';
import { ENDING, mayEndAs } from '../../../src/store/transition-sql.js';
import {
  EXECUTION_STATES,
  type ExecutionState,
  HELD_STATES,
  isTerminal,
  TERMINAL_STATES,
  type Transition,
  TRANSITIONS,
  WAITING_STATES,
} from '../../../src/store/transitions.js';

const transitions = Object.entries(TRANSITIONS) as [string, Transition][];

function reachableFrom(starts: readonly ExecutionState[]): Set<ExecutionState> {
  const reached = new Set(starts);
  for (let before = -1; before < reached.size;) {
    before = reached.size;
    for (const [, { from, to }] of transitions) if (from.some((state) => reached.has(state))) reached.add(to);
  }
  return reached;
}

describe('the transition table', () => {
  it('sorts every state into waiting, held or terminal, once', () => {
    expect([...WAITING_STATES, ...HELD_STATES, ...TERMINAL_STATES].toSorted()).toEqual(
      EXECUTION_STATES.toSorted(),
    );
  });

  it('leads to every state from acceptance', () => {
    expect(reachableFrom(['accepted'])).toEqual(new Set(EXECUTION_STATES));
  });

  it('leads from every open state to every terminal one', () => {
    for (const state of EXECUTION_STATES.filter((open) => !isTerminal(open))) {
      const reached = reachableFrom([state]);
      expect({ state, ends: TERMINAL_STATES.filter((end) => reached.has(end)) }).toEqual({
        state,
        ends: [...TERMINAL_STATES],
      });
    }
  });

  it('lets nothing leave a terminal state but a replay, and completed not even by that', () => {
    const leaving = transitions.filter(([, { from }]) => from.some(isTerminal)).map(([name]) => name);
    expect(leaving).toEqual(['replay']);
    expect(TRANSITIONS.replay.from).not.toContain('completed');
  });

  it('lets nothing return to accepted, and no transition stay where it is', () => {
    expect(transitions.filter(([, { to }]) => to === 'accepted')).toEqual([]);
    expect(transitions.filter(([, { from, to }]) => from.includes(to))).toEqual([]);
  });

  it('lets only what a worker holds end by a result', () => {
    for (const name of Object.values(ENDING)) expect(TRANSITIONS[name].from).toEqual(HELD_STATES);
    for (const state of TERMINAL_STATES) expect(TRANSITIONS[ENDING[state]].to).toBe(state);
  });

  it('lets every waiting execution be cancelled by a single write', () => {
    expect(TRANSITIONS.cancel.from).toEqual(WAITING_STATES);
  });

  it('lists each source state of a transition once', () => {
    for (const [name, { from }] of transitions)
      expect({ name, from: [...new Set(from)] }).toEqual({ name, from });
  });

  it('is what the condition on an end is made from', () => {
    const condition = JSON.stringify(mayEndAs('given.state').toOperationNode());
    for (const state of TERMINAL_STATES) expect(condition).toContain(`given.state = '${state}'`);
  });
});
