import { beforeEach, describe, expect, it } from '@jest/globals';
import { ClassScaling } from '../../../src/scaling/class-scaling.js';
import type { WorkerExit } from '../../../src/scaling/worker-driver.js';

const MINUTE_MS = 60_000;
const exit: WorkerExit = {
  workerId: 'w1',
  workerClass: 'general',
  retiring: false,
  code: 1,
  signal: null,
  livedMs: 100,
};

describe('the back-off of a class', () => {
  let scaling: ClassScaling;

  beforeEach(() => {
    scaling = new ClassScaling({
      scaleUpLoad: 0.7,
      scaleDownLoad: 0.3,
      queueHighWaterMark: 1_000,
      queueLowWaterMark: 100,
      scalingCooldownMs: 15_000,
      scaleDownStabilizationMs: 300_000,
      scalingDrainTargetMs: 60_000,
    });
    scaling.ended(exit, null, 0);
  });

  /** How many count after one more, 10 minutes after the first. */
  function crashesAfterAnother(): number | undefined {
    const nowMs = 10 * MINUTE_MS;
    scaling.ended(exit, null, nowMs);
    return scaling.status(nowMs).backOff?.crashes;
  }

  it('is over when a worker has lived for 10 minutes', () => {
    scaling.livedSince(Date.now() - 10 * MINUTE_MS, 10 * MINUTE_MS);
    expect(crashesAfterAnother()).toBe(1);
  });

  it.each([
    { name: 'the oldest worker has lived for 9', oldestStartMs: () => Date.now() - 9 * MINUTE_MS },
    { name: 'there is none', oldestStartMs: () => null },
  ])('goes on while $name', ({ oldestStartMs }) => {
    scaling.livedSince(oldestStartMs(), 10 * MINUTE_MS);
    expect(crashesAfterAnother()).toBe(2);
  });
});
