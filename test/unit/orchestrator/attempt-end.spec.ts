import { describe, expect, it } from '@jest/globals';
import {
  afterFailure,
  type FailedAttempt,
  namingWorker,
  retryDelayMs,
} from '../../../src/orchestrator/attempt-end.js';
import { needsSlot, runsAlone } from '../../../src/orchestrator/suspects.js';

const tiers = [1_000, 5_000, 30_000];
const failed: FailedAttempt = {
  error: { code: 'node_failed', message: 'boom', retryable: true },
  attempt: 1,
  maxAttempts: 3,
  retriesSoFar: 0,
  backoff: null,
  cancelRequested: false,
};

describe('a failed attempt', () => {
  it.each<[string, Partial<FailedAttempt>, object]>([
    ['is retried after the first tier', {}, { kind: 'retry', delayMs: 1_000 }],
    ['is retried after the second tier', { attempt: 2, retriesSoFar: 1 }, { kind: 'retry', delayMs: 5_000 }],
    [
      'fails at once when another attempt would not help',
      { error: { code: 'bad_config', message: 'x', retryable: false } },
      { kind: 'fail' },
    ],
    ['is dead when the attempts are used up', { attempt: 3 }, { kind: 'bury' }],
    ['is cancelled when that was asked for', { cancelRequested: true, attempt: 3 }, { kind: 'cancel' }],
    [
      'runs again at once when its worker was lost',
      { error: { code: 'worker_lost', message: 'x', retryable: true } },
      { kind: 'retry', delayMs: 0 },
    ],
  ])('%s', (_, change, expected) => {
    expect(afterFailure({ ...failed, ...change }, tiers, 0.5)).toMatchObject(expected);
  });

  it('names the attempts in the reason of a dead one', () => {
    const end = afterFailure({ ...failed, attempt: 3 }, tiers, 0);
    expect(end).toMatchObject({ error: { message: 'attempt 3 of 3 failed: boom', code: 'node_failed' } });
  });
});

describe('an interrupted attempt', () => {
  it('names the worker, since the process after it cannot speak for it', () => {
    const error = { code: 'interrupted', message: 'the process ended', retryable: true };
    expect(namingWorker(error, 'w1').message).toBe('worker w1 was lost: the process ended');
    expect(namingWorker(failed.error, 'w1')).toBe(failed.error);
  });
});

describe('an attempt has a worker to itself', () => {
  const ended = (code: string | null) => ({
    attempt: 1,
    workerId: 'w',
    outcome: 'worker_lost',
    queuedAt: null,
    assignedAt: null,
    startedAt: null,
    finishedAt: null,
    error: code === null ? null : { code, message: 'x', retryable: true },
  });

  it.each([
    ['the last one after a lost worker', 3, ['worker_lost', 'node_failed'], true],
    ['the last one after an interruption', 3, ['interrupted', null], true],
    ['not before the last', 2, ['worker_lost'], false],
    ['not after other failures', 3, ['node_failed', null], false],
    ['not the only one', 3, [], false],
  ])('%s', (_, attempt, codes, expected) => {
    expect(runsAlone({ attempt, maxAttempts: 3, pastAttempts: codes.map(ended) })).toBe(expected);
  });

  it.each([
    ['the last one', 3, ['node_failed', null], true],
    ['one after a lost worker', 2, ['worker_lost'], true],
    ['not the first of several', 1, [], false],
    ['not after other failures, before the last', 2, ['node_failed'], false],
  ])('is not sent ahead of a free slot: %s', (_, attempt, codes, expected) => {
    expect(needsSlot({ attempt, maxAttempts: 3, pastAttempts: codes.map(ended) })).toBe(expected);
  });
});

describe('the wait before a retry', () => {
  it('stays at the last tier', () => {
    expect(retryDelayMs({ retriesSoFar: 9, backoff: null }, tiers, 0)).toBe(30_000);
  });

  it("follows the execution's own backoff: exponential, capped", () => {
    const backoff = { baseMs: 100, factor: 3, maxMs: 500 };
    expect([0, 1, 2].map((retriesSoFar) => retryDelayMs({ retriesSoFar, backoff }, tiers, 0.9))).toEqual([
      100, 300, 500,
    ]);
  });

  it('spreads by the jitter, evenly around the delay', () => {
    const backoff = { baseMs: 1_000, jitter: 0.2 };
    const at = (random: number): number => retryDelayMs({ retriesSoFar: 0, backoff }, tiers, random);
    expect([at(0), at(0.5), at(1)]).toEqual([800, 1_000, 1_200]);
  });
});
