import { describe, expect, it } from '@jest/globals';
import { HeartbeatHistory, phi } from '../../../src/worker/phi-accrual.js';
import { isMassLoss, judge, selfDoubt, type WorkerSigns } from '../../../src/worker/verdict.js';

describe('phi', () => {
  // Known values for mean 1000 ms and deviation 100 ms, worked out by hand from the formula.
  it.each([
    [1200, 1.6],
    [1400, 4.7],
    [1600, 10.8],
    [1700, 15.37],
  ])('of %i ms is %d', (elapsedMs, expected) => {
    expect(phi(elapsedMs, 1000, 100)).toBeCloseTo(expected, 1);
  });

  it('is finite however long the silence', () => {
    expect(phi(1e9, 1000, 100)).toBe(1_000);
  });
});

describe('a history of heartbeats', () => {
  const intervalMs = 15_000;
  const steady = (): HeartbeatHistory => {
    const history = new HeartbeatHistory({ intervalMs }, 0);
    for (let beat = 1; beat <= 20; beat++) {
      history.beat(beat * intervalMs);
    }
    return history;
  };

  it('does not suspect half a second of jitter at 15 s heartbeats', () => {
    expect(steady().phi(21 * intervalMs + 500)).toBeLessThan(1);
  });

  it('accepts a pause of one interval, and suspects two missed ones', () => {
    const history = steady();
    expect(history.phi(22 * intervalMs)).toBeLessThan(8);
    expect(history.phi(23.5 * intervalMs)).toBeGreaterThan(8);
  });

  it('does not learn a faster rhythm from heartbeats sent at once on a change', () => {
    const history = steady();
    for (let extra = 1; extra <= 50; extra++) {
      history.beat(20 * intervalMs + extra * 10);
    }
    expect(history.phi(21 * intervalMs + 1_000)).toBeLessThan(1);
  });
});

describe('the verdict on a worker', () => {
  const limits = { suspectPhi: 8, silenceLimitMs: 60_000 };
  const fine: WorkerSigns = { phi: 0.2, silenceMs: 3_000, consumers: 1, hasConsumed: true, ageMs: 60_000 };

  it.each<[string, Partial<WorkerSigns>, string]>([
    ['alive with a consumer and a recent heartbeat', {}, 'alive'],
    ['alive when its queue was not looked at', { consumers: null }, 'alive'],
    ['lost when nobody consumes from its queue', { consumers: 0 }, 'lost'],
    ['alive without a consumer while it has yet to begin', { consumers: 0, hasConsumed: false }, 'alive'],
    ['lost when it never begins', { consumers: 0, hasConsumed: false, ageMs: 60_001 }, 'lost'],
    ['suspect when its heartbeat is late', { phi: 9 }, 'suspect'],
    ['lost when it is silent beyond the limit', { silenceMs: 60_000 }, 'lost'],
  ])('is %s', (_, signs, expected) => {
    expect(judge({ ...fine, ...signs }, limits).kind).toBe(expected);
  });

  it('is not given while we ourselves may be the cause', () => {
    const self = { loopDelayMs: 5, linkAgeMs: 60_000, intervalMs: 250 };
    expect(selfDoubt(self)).toBeNull();
    expect(selfDoubt({ ...self, loopDelayMs: 3_000 })).toContain('stalled');
    expect(selfDoubt({ ...self, linkAgeMs: 100 })).toContain('connection');
  });

  it('takes more than half of a pool at once for something else', () => {
    expect(isMassLoss(3, 5)).toBe(true);
    expect(isMassLoss(2, 5)).toBe(false);
    expect(isMassLoss(1, 1)).toBe(false);
    expect(isMassLoss(2, 2)).toBe(false);
  });
});
