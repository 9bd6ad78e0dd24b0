import { describe, expect, it } from '@jest/globals';
import { mayStand } from '../../../src/orchestrator/leadership.js';

describe('a replica may lead', () => {
  const leaseTtlMs = 5_000;

  it.each([
    ['while it has the broker', { brokerAwayMs: 0, isShared: true }, true],
    ['while the broker restarts', { brokerAwayMs: 4_999, isShared: true }, true],
    ['not without the broker for as long as a lease lasts', { brokerAwayMs: 5_000, isShared: true }, false],
    ['without it if there can be no other replica', { brokerAwayMs: 60_000, isShared: false }, true],
  ])('%s', (_, replica, expected) => {
    expect(mayStand({ ...replica, leaseTtlMs })).toBe(expected);
  });
});
