import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import {
  afterExit,
  afterHealthy,
  type BackOff,
  isEarlyCrash,
  launchesAllowedAtMs,
  NO_BACK_OFF,
} from '../../../src/scaling/back-off.js';

const crash = (state: BackOff, nowMs: number): BackOff => afterExit(state, { crashed: true, nowMs });

/** A worker is launched whenever that is allowed, and crashes at once. @returns the pauses between, ms */
function pausesOf(crashes: number): number[] {
  let [state, nowMs] = [NO_BACK_OFF, 1_000];
  return Array.from({ length: crashes }, () => {
    state = crash(state, nowMs);
    const pauseMs = launchesAllowedAtMs(state)! - nowMs;
    nowMs += pauseMs;
    return pauseMs;
  });
}

describe('what counts as a crash at the start', () => {
  it.each([
    { name: 'ended before it registered', code: 1, registeredForMs: null, expected: true },
    { name: 'ended before it registered, without an error', code: 0, registeredForMs: null, expected: true },
    { name: 'killed before it registered', code: null, registeredForMs: null, expected: true },
    { name: 'failed soon after it registered', code: 1, registeredForMs: 9_999, expected: true },
    { name: 'killed soon after it registered', code: null, registeredForMs: 0, expected: true },
    { name: 'ended well soon after it registered', code: 0, registeredForMs: 0, expected: false },
    { name: 'failed later', code: 1, registeredForMs: 10_000, expected: false },
  ])('$name: $expected', ({ expected, ...exit }) => {
    expect(isEarlyCrash({ ...exit, retiring: false })).toBe(expected);
    expect(isEarlyCrash({ ...exit, retiring: true })).toBe(false);
  });
});

describe('the back-off of a class', () => {
  it('doubles from 10 s to 300 s', () => {
    expect(pausesOf(8)).toEqual([10, 20, 40, 80, 160, 300, 300, 300].map((s) => s * 1_000));
  });

  it('begins with the first crash', () => {
    expect(launchesAllowedAtMs(NO_BACK_OFF)).toBeNull();
    expect(launchesAllowedAtMs(crash(NO_BACK_OFF, 500))).toBe(10_500);
    expect(afterExit(NO_BACK_OFF, { crashed: false, nowMs: 500 })).toBe(NO_BACK_OFF);
  });

  it('takes five workers that crash together for one crash', () => {
    const together = [0, 0, 3, 40, 9_999].reduce(crash, NO_BACK_OFF);
    expect(together).toEqual(crash(NO_BACK_OFF, 0));
    expect(launchesAllowedAtMs(crash(together, 10_000))).toBe(30_000);
  });

  it('ends when workers are well and none has crashed for 10 minutes', () => {
    const state = [0, 10_000, 30_000].reduce(crash, NO_BACK_OFF);
    expect(afterHealthy(state, 629_999)).toBe(state);
    expect(afterHealthy(state, 630_000)).toBe(NO_BACK_OFF);
    expect(afterHealthy(NO_BACK_OFF, 1)).toBe(NO_BACK_OFF);
  });

  it('counts no two crashes that lie closer together than the pause that the first of them began', () => {
    const exits = fc.array(fc.record({ crashed: fc.boolean(), afterMs: fc.nat(60_000) }), { maxLength: 100 });
    fc.assert(
      fc.property(exits, (list) => {
        let [state, nowMs, counted] = [NO_BACK_OFF, 0, -Infinity];
        for (const { crashed, afterMs } of list) {
          nowMs += afterMs;
          const before = state;
          state = afterExit(state, { crashed, nowMs });
          if (state !== before) {
            expect(nowMs).toBeGreaterThanOrEqual(launchesAllowedAtMs(before) ?? -Infinity);
            expect(nowMs - counted).toBeGreaterThanOrEqual(10_000);
            counted = nowMs;
          }
          expect(state.crashes).toBeLessThanOrEqual(list.length);
        }
      }),
    );
  });
});
