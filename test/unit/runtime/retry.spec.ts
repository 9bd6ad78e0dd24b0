import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { backoffMs, nextTryDelayMs } from '../../../src/runtime/engine/retry.js';

const error = { code: 'busy', message: 'busy', retryable: true };

describe('retries', () => {
  it('grow by the factor up to the cap', () => {
    const backoff = { baseMs: 100, factor: 3, maxMs: 1000, jitter: 0 };
    expect([1, 2, 3, 4, 5].map((tries) => backoffMs(backoff, tries, 0.5))).toEqual([
      100, 300, 900, 1000, 1000,
    ]);
  });

  it('are spread by the jitter and never negative', () => {
    fc.assert(
      fc.property(
        fc.nat(1000),
        fc.integer({ min: 1, max: 100 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (baseMs, tries, random) => {
          const plain = backoffMs({ baseMs, jitter: 0 }, tries, random);
          const spread = backoffMs({ baseMs, jitter: 0.5 }, tries, random);
          expect(spread).toBeGreaterThanOrEqual(Math.floor(plain * 0.5));
          expect(spread).toBeLessThanOrEqual(Math.ceil(plain * 1.5));
        },
      ),
    );
  });

  it('end with the tries, and never begin for what is not retryable', () => {
    const policy = { maxAttempts: 2, backoff: { baseMs: 10, jitter: 0 } };
    expect(nextTryDelayMs(policy, 1, error, 0)).toBe(10);
    expect(nextTryDelayMs(policy, 2, error, 0)).toBeUndefined();
    expect(nextTryDelayMs(policy, 1, { ...error, retryable: false }, 0)).toBeUndefined();
    expect(nextTryDelayMs(undefined, 1, error, 0)).toBeUndefined();
  });
});
