import { describe, expect, it } from '@jest/globals';
import { ClassScaling, type Proposal } from '../../../src/scaling/class-scaling.js';
import type { ClassSettings } from '../../../src/scaling/class-settings.js';
import type { Census } from '../../../src/scaling/census.js';
import type { ClassDemand } from '../../../src/scaling/demand.js';
import type { WorkerRecord } from '../../../src/worker/worker-record.js';
import { registration } from '../../support/workers.js';

const POLICY = {
  scaleUpLoad: 0.7,
  scaleDownLoad: 0.3,
  queueHighWaterMark: 1_000,
  queueLowWaterMark: 100,
  scalingCooldownMs: 60_000,
  scaleDownStabilizationMs: 300_000,
  scalingDrainTargetMs: 60_000,
};
const NO_DEMAND: ClassDemand = { queuedTasks: 0, unmetTasks: 0 };

const settings = (changes: Partial<ClassSettings> = {}): ClassSettings => ({
  minWorkers: 1,
  maxWorkers: 9,
  boundsFrom: 'configuration',
  paused: false,
  desired: 4,
  reason: 'before',
  revision: 1,
  desiredAgeMs: 0,
  updatedAt: 0,
  ...changes,
});

/** So many live workers, each with this share of its four slots taken. */
const census = (count: number, load: number): Census => ({
  live: Array.from({ length: count }, (_, index) => {
    const own = registration({ workerId: `w${index}` });
    return {
      workerId: own.workerId,
      registration: own,
      held: load * own.capacity.maxConcurrentFlows,
      load: { activeNodes: 0 },
      tasksCompleted: 0,
      tasksFailed: 0,
      busyMs: 0,
    } as WorkerRecord;
  }),
  ready: count,
  draining: 0,
  foreign: 0,
  serving: [],
  ending: [],
});

/** A class with its rounds; each is settled unless `settles` is false. */
function rounds() {
  const scaling = new ClassScaling(POLICY);
  const round = (nowMs: number, given: ClassSettings, there: Census, settles = true): Proposal => {
    const proposal = scaling.propose({ settings: given, census: there, demand: NO_DEMAND, nowMs });
    if (settles) {
      scaling.settle(proposal, nowMs);
    }
    return proposal;
  };
  return { scaling, round };
}

describe('a class through a term', () => {
  it('begins with the workers that are there, within its bounds', () => {
    const { round } = rounds();
    const found = round(0, settings({ desired: null, desiredAgeMs: null, revision: 0 }), census(3, 0.5));
    expect(found).toMatchObject({ desired: 3, isChange: true });
    expect(found.reason).toBe('3 workers were there at the beginning');
    const none = rounds().round(0, settings({ desired: null, minWorkers: 2 }), census(0, 0));
    expect(none).toMatchObject({ desired: 2, isChange: true });
  });

  it('goes on with the cooldown of the leader before it', () => {
    const busy = census(4, 1);
    expect(rounds().round(0, settings({ desiredAgeMs: 20_000 }), busy)).toMatchObject({
      isChange: false,
      decision: { heldBackBy: ['cooldown'], cooldownLeftMs: 40_000 },
    });
    expect(rounds().round(0, settings({ desiredAgeMs: 61_000 }), busy)).toMatchObject({
      isChange: true,
      desired: 6,
    });
  });

  it('remembers nothing of a decision that the record did not take', () => {
    const { scaling, round } = rounds();
    const old = settings({ desiredAgeMs: 61_000 });
    expect(round(0, old, census(4, 1), false).isChange).toBe(true);
    expect(scaling.status(0).decisions).toEqual([]);
    expect(round(200, old, census(4, 1)).isChange).toBe(true);
    expect(scaling.status(200)).toMatchObject({ desired: 6, cooldownLeftMs: 60_000 });
  });

  it('lets a size that a person set stand for a cooldown and a window', () => {
    const { scaling, round } = rounds();
    round(0, settings({ desiredAgeMs: 400_000 }), census(4, 0.5));
    const asked = settings({ desired: 8, reason: 'month end', revision: 2 });
    expect(round(1_000, asked, census(8, 0))).toMatchObject({ isChange: false });
    expect(scaling.status(1_000)).toMatchObject({
      cooldownLeftMs: 60_000,
      decisions: [{ heldBackBy: ['stabilization'] }, { rule: 'manual', from: 4, to: 8 }],
    });
    expect(round(299_000, asked, census(8, 0)).isChange).toBe(false);
    expect(round(302_000, asked, census(8, 0))).toMatchObject({ isChange: true, desired: 4 });
  });

  it('keeps what is refused again and again once, and no more than 50', () => {
    const { scaling, round } = rounds();
    const paused = settings({ paused: true, desiredAgeMs: 400_000 });
    for (let nowMs = 0; nowMs < 10_000; nowMs += 1_000) {
      round(nowMs, paused, census(4, 1));
    }
    expect(scaling.status(10_000).decisions).toHaveLength(1);
    for (let size = 1; size < 80; size++) {
      round(10_000 + size, settings({ desired: 1 + (size % 9), desiredAgeMs: 400_000 }), census(4, 0.5));
    }
    expect(scaling.status(20_000).decisions).toHaveLength(50);
  });

  it('launches nothing while workers end at their start', () => {
    const { scaling } = rounds();
    const exit = {
      workerId: 'w',
      workerClass: 'default',
      retiring: false,
      code: 1,
      signal: null,
      livedMs: 5,
    };
    expect(scaling.plan(census(0, 0), 2, 0).instances).toBe(2);
    expect(scaling.ended(exit, null, 0)).toBe(true);
    expect(scaling.ended(exit, null, 10)).toBe(false);
    expect(scaling.status(1_000).backOff).toEqual({ crashes: 1, leftMs: 9_000 });
    expect(scaling.plan(census(0, 0), 2, 9_999).instances).toBe(0);
    expect(scaling.plan(census(0, 0), 2, 10_000).instances).toBe(2);
    expect(scaling.status(10_000).backOff).toBeNull();
  });
});
