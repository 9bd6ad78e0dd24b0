import { describe, expect, it } from '@jest/globals';
import { readExecuteOptions } from '../../../src/orchestrator/api/execute-options.js';

const read = (asked: { waitMs?: unknown; prefer?: string; idempotencyKey?: string }): object =>
  readExecuteOptions({ waitMs: undefined, prefer: undefined, idempotencyKey: undefined, ...asked }, 5_000);

describe('readExecuteOptions', () => {
  it.each([
    ['nothing', {}, { waitMs: 0 }],
    ['waitMs', { waitMs: '250' }, { waitMs: 250 }],
    ['Prefer', { prefer: 'respond-async, wait=2' }, { waitMs: 2_000, preferenceApplied: 'wait=2' }],
    ['a preference beyond the limit', { prefer: 'wait=100' }, { waitMs: 5_000, preferenceApplied: 'wait=5' }],
    ['a preference that is none', { prefer: 'await=3; wait=soon' }, { waitMs: 0 }],
    ['waitMs before Prefer', { waitMs: '1', prefer: 'wait=2' }, { waitMs: 1 }],
    ['a key', { idempotencyKey: 'k' }, { waitMs: 0, idempotencyKey: 'k' }],
  ])('reads %s', (_, asked, options) => {
    expect(read(asked)).toMatchObject(options);
  });

  it.each([
    ['a wait beyond the limit', { waitMs: '5001' }],
    ['a negative wait', { waitMs: '-1' }],
    ['a wait that is text', { waitMs: 'long' }],
    ['two waits', { waitMs: ['1', '2'] }],
    ['an empty key', { idempotencyKey: '' }],
    ['an endless key', { idempotencyKey: 'k'.repeat(256) }],
  ])('refuses %s', (_, asked) => {
    expect(() => read(asked)).toThrow(/has a fault/);
  });
});
