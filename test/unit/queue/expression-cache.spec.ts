import { describe, expect, it } from '@jest/globals';
import { ExpressionCache } from '../../../src/queue/contracts/expression.js';

describe('ExpressionCache', () => {
  const texts = (count: number, length: number): string[] =>
    Array.from({ length: count }, (_, index) => `"${String(index).padEnd(length - 2, 'x')}"`);
  /** Which of the texts are still there: parsed once, and the very same again. */
  const kept = (all: string[], capacity?: number): string[] => {
    const cache = new ExpressionCache({}, capacity);
    const first = all.map((text) => cache.compile(text));
    return all.filter((_, index) => {
      const at = all.length - 1 - index;
      return cache.compile(all[at]!) === first[at];
    });
  };

  it('keeps the texts used last, as many as its capacity', () => {
    expect(kept(texts(10, 20), 4)).toHaveLength(4);
    expect(kept(texts(10, 20))).toHaveLength(10);
  });

  it('keeps no more than half a million characters, whatever their number', () => {
    const count = kept(texts(100, 16_000)).length;
    expect(count).toBe(31);
  });
});
