import { describe, expect, it } from '@jest/globals';
import { inOrder, type Keyed } from '../../../src/store/rows.js';

type Item = Keyed & { note: string };

const item = (executionId: string, note = '', attempt = 1, workerId = 'w1'): Item => ({
  executionId,
  attempt,
  workerId,
  note,
});
const notes = (items: readonly Item[]): string[] =>
  items.map(({ executionId, attempt, note }) => `${executionId}${attempt}${note}`);

describe('the rows of a batch', () => {
  it('are in the order of their ids where several replicas may lock them', () => {
    const given = [item('b'), item('c'), item('a')];
    expect(notes(inOrder(given, true))).toEqual(['a1', 'b1', 'c1']);
    expect(notes(given)).toEqual(['b1', 'c1', 'a1']);
  });

  it('stay as they came where nobody else writes', () => {
    const given = [item('b'), item('a')];
    expect(inOrder(given, false)).toBe(given);
  });

  it('are those of one key once, the one that was given first', () => {
    const given = [item('b', 'x'), item('a'), item('b', 'y')];
    expect(notes(inOrder(given, true))).toEqual(['a1', 'b1x']);
    expect(notes(inOrder(given, false))).toEqual(['a1', 'b1x']);
  });

  it('are each of several attempts of one execution, and of several workers', () => {
    const given = [item('a', '', 2), item('a', 'v', 1, 'w2'), item('a')];
    expect(notes(inOrder(given, true))).toEqual(['a2', 'a1v', 'a1']);
  });
});
