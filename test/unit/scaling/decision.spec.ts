import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import {
  decide,
  NO_MEMORY,
  type PoolSample,
  type ScalingDecision,
  type ScalingMemory,
  type ScalingPolicy,
} from '../../../src/scaling/decision.js';

const POLICY: ScalingPolicy = {
  scaleUpLoad: 0.7,
  scaleDownLoad: 0.3,
  queueHighWaterMark: 1_000,
  queueLowWaterMark: 100,
  scalingCooldownMs: 15_000,
  scaleDownStabilizationMs: 300_000,
  scalingDrainTargetMs: 60_000,
};
/** Without what holds a decision back: the bare size. */
const AT_ONCE: ScalingPolicy = { ...POLICY, scalingCooldownMs: 0, scaleDownStabilizationMs: 0 };

const NOW = 10_000_000;

/** `workers` of them live and asked for, at the target load, nothing waits. */
function sample(overrides: Partial<PoolSample> & { workers?: number } = {}): PoolSample {
  const { workers = 5, ...rest } = overrides;
  return {
    nowMs: NOW,
    desired: workers,
    liveWorkers: workers,
    averageLoad: 0.7,
    queuedTasks: 0,
    unmetTasks: 0,
    workerTasksPerS: null,
    minWorkers: 0,
    maxWorkers: 100,
    paused: false,
    ...rest,
  };
}

function decided(
  overrides: Partial<PoolSample> & { workers?: number },
  policy: ScalingPolicy = AT_ONCE,
  memory: ScalingMemory = NO_MEMORY,
): ScalingDecision {
  return decide(sample(overrides), policy, memory).decision;
}

const idle = { averageLoad: 0.1 };
const changedAgo = (ms: number): ScalingMemory => ({ lastChangeAtMs: NOW - ms, recommendations: [] });

interface Case {
  name: string;
  given: Partial<PoolSample> & { workers?: number };
  policy?: Partial<ScalingPolicy>;
  expected: Partial<ScalingDecision>;
}

describe('the size that is wanted', () => {
  const cases: Case[] = [
    { name: 'load at its target', given: {}, expected: { desired: 5, rule: 'steady', action: 'none' } },
    {
      name: 'load above its target, within the tolerance',
      given: { averageLoad: 0.77 },
      expected: { desired: 5, rule: 'steady' },
    },
    {
      name: 'load above the tolerance',
      given: { averageLoad: 0.78 },
      expected: { desired: 6, rule: 'load', action: 'up' },
    },
    { name: 'a full pool', given: { averageLoad: 1 }, expected: { desired: 8, rule: 'load' } },
    {
      name: 'a full pool whose target has load 1 within its tolerance',
      given: { averageLoad: 1 },
      policy: { scaleUpLoad: 0.95 },
      expected: { desired: 6, rule: 'load' },
    },
    {
      name: 'load between the two thresholds',
      given: { averageLoad: 0.31 },
      expected: { desired: 5, rule: 'steady' },
    },
    {
      name: 'load below the lower one',
      given: { averageLoad: 0.29 },
      expected: { desired: 3, rule: 'idle', action: 'down' },
    },
    {
      name: 'low load and a queue at the low watermark',
      given: { ...idle, queuedTasks: 100 },
      expected: { desired: 5, rule: 'steady' },
    },
    {
      name: 'low load and a queue below it',
      given: { ...idle, queuedTasks: 99 },
      expected: { desired: 3, wanted: 1, rule: 'idle', heldBackBy: ['rate'] },
    },
    {
      name: 'a low watermark of 0, and nothing waits',
      given: { ...idle, workers: 2 },
      policy: { queueLowWaterMark: 0 },
      expected: { desired: 1, rule: 'idle' },
    },
    {
      name: 'rounding errors do not add a worker: 20 × 0.14 / 0.7 is 4',
      given: { workers: 20, averageLoad: 0.14 },
      expected: { wanted: 4, rule: 'idle' },
    },
    {
      name: 'a backlog that a worker with 2 tasks/s needs 6 minutes for, and nothing runs',
      given: { workers: 3, averageLoad: 0, queuedTasks: 720, workerTasksPerS: 2 },
      expected: { desired: 6, rule: 'backlog', action: 'up' },
    },
    {
      name: 'the same backlog, of which half can run on no live worker',
      given: { workers: 3, averageLoad: 0, queuedTasks: 360, unmetTasks: 360, workerTasksPerS: 2 },
      expected: { desired: 6, rule: 'backlog' },
    },
    {
      name: 'the same backlog, on top of what runs: 6 + 3 × 0.7',
      given: { workers: 3, queuedTasks: 720, workerTasksPerS: 2 },
      expected: { desired: 7, wanted: 9, rule: 'backlog', heldBackBy: ['rate'] },
    },
    {
      name: 'the same while the workers that this asked for start',
      given: { desired: 9, liveWorkers: 3, queuedTasks: 720, workerTasksPerS: 2 },
      expected: { desired: 9, rule: 'steady', action: 'none' },
    },
    {
      name: 'the same backlog on a full pool: 6 + 10, where the load alone asks for 15',
      given: { workers: 10, averageLoad: 1, queuedTasks: 720, workerTasksPerS: 2 },
      expected: { desired: 16, rule: 'backlog', action: 'up' },
    },
    {
      name: 'a backlog that the free part of the pool can work off: 2.5 + 10 × 0.7',
      given: { workers: 10, queuedTasks: 300, workerTasksPerS: 2 },
      expected: { desired: 10, rule: 'steady', action: 'none' },
    },
    {
      name: 'the backlog of 6 minutes with twice the time to end it: 3 + 3 × 0.7',
      given: { workers: 3, queuedTasks: 720, workerTasksPerS: 2 },
      policy: { scalingDrainTargetMs: 120_000 },
      expected: { desired: 6, rule: 'backlog', heldBackBy: [] },
    },
    {
      name: 'a backlog of unknown speed below the high watermark',
      given: { workers: 3, queuedTasks: 1_000 },
      expected: { desired: 3, rule: 'steady' },
    },
    {
      name: 'a queue above the high watermark',
      given: { workers: 3, queuedTasks: 1_001 },
      expected: { desired: 4, rule: 'watermark' },
    },
    {
      name: 'the same while the worker that this asked for starts',
      given: { desired: 4, liveWorkers: 3, queuedTasks: 1_001 },
      expected: { desired: 4, rule: 'steady' },
    },
    {
      name: 'work that no live worker can run, from zero',
      given: { workers: 0, unmetTasks: 1 },
      expected: { desired: 1, rule: 'unmet', action: 'up' },
    },
    {
      name: 'much of it, of known speed, from zero',
      given: { workers: 0, averageLoad: Number.NaN, unmetTasks: 720, workerTasksPerS: 2 },
      expected: { desired: 4, wanted: 6, rule: 'backlog', heldBackBy: ['rate'] },
    },
    {
      name: 'work that another class could run too, from zero',
      given: { workers: 0, queuedTasks: 1 },
      expected: { desired: 1, rule: 'backlog' },
    },
    {
      name: 'work that no live worker can run, and one is starting',
      given: { desired: 1, liveWorkers: 0, unmetTasks: 50 },
      expected: { desired: 1, rule: 'unmet', action: 'none' },
    },
    {
      name: 'nothing waits and nothing runs',
      given: { workers: 1, averageLoad: 0 },
      expected: { desired: 0, rule: 'idle', action: 'down' },
    },
    {
      name: 'the last worker runs a single task of many slots',
      given: { workers: 1, averageLoad: 0.01 },
      expected: { desired: 1, rule: 'steady' },
    },
    {
      name: 'the last worker is idle and a task waits',
      given: { workers: 1, averageLoad: 0, queuedTasks: 1 },
      expected: { desired: 1, rule: 'backlog', action: 'none' },
    },
    {
      name: 'an empty class that nothing waits for, whatever load is said of nobody',
      given: { workers: 0, averageLoad: Number.NaN },
      expected: { desired: 0, rule: 'steady', action: 'none' },
    },
  ];

  it.each(cases)('$name', ({ given, policy, expected }) => {
    expect(decided(given, { ...AT_ONCE, ...policy })).toMatchObject(expected);
  });
});

/**
 * Situations that Kubernetes tests its HorizontalPodAutoscaler with (pkg/controller/podautoscaler), with its figures:
 * replicas are workers, utilization is load. Its one threshold for shrinking is the target less the tolerance.
 */
describe('what a HorizontalPodAutoscaler decides too', () => {
  const target = (load: number): Partial<ScalingPolicy> => ({ scaleUpLoad: load, scaleDownLoad: load * 0.9 });

  const cases: Case[] = [
    {
      name: 'grows by the ratio of load to target',
      given: { workers: 3, averageLoad: 0.5 },
      policy: target(0.3),
      expected: { desired: 5 },
    },
    {
      name: 'grows less while one of three is not ready, which counts as idle',
      given: { desired: 3, liveWorkers: 2, averageLoad: 0.6 },
      policy: target(0.3),
      expected: { desired: 4 },
    },
    {
      name: 'does not grow when those not ready will do',
      given: { desired: 3, liveWorkers: 1, averageLoad: 0.4 },
      policy: target(0.3),
      expected: { desired: 3, action: 'none' },
    },
    {
      name: 'shrinks by the ratio of load to target',
      given: { workers: 5, averageLoad: 0.28 },
      policy: target(0.5),
      expected: { desired: 3 },
    },
    {
      name: 'shrinks by the load of those that are ready',
      given: { desired: 5, liveWorkers: 3, averageLoad: 0.3 },
      policy: target(0.5),
      expected: { wanted: 2 },
    },
    {
      name: 'leaves a load just above its target alone',
      given: { workers: 3, averageLoad: 0.52 },
      policy: target(0.5),
      expected: { desired: 3, action: 'none' },
    },
    {
      name: 'leaves a load just below its target alone',
      given: { workers: 3, averageLoad: 0.46 },
      policy: target(0.5),
      expected: { desired: 3, action: 'none' },
    },
    {
      name: 'sizes by an amount a worker: 8600 at 2150 each',
      given: { workers: 3, averageLoad: 0, queuedTasks: 8_600, workerTasksPerS: 2_150 / 60 },
      policy: { queueHighWaterMark: 10_000 },
      expected: { desired: 4 },
    },
    {
      name: 'leaves zero by an amount a worker',
      given: { workers: 0, unmetTasks: 300, workerTasksPerS: 100 / 60 },
      expected: { desired: 3 },
    },
    {
      name: 'takes a size within the bounds',
      given: { workers: 5, averageLoad: 0.98, minWorkers: 3, maxWorkers: 8 },
      expected: { desired: 7, heldBackBy: [] },
    },
    {
      name: 'goes no lower than the minimum',
      given: { workers: 3, averageLoad: 0.1, minWorkers: 2, maxWorkers: 8 },
      expected: { desired: 2, wanted: 1, heldBackBy: ['bounds'] },
    },
    {
      name: 'goes no higher than the maximum',
      given: { workers: 8, averageLoad: 1, minWorkers: 3, maxWorkers: 10 },
      expected: { desired: 10, wanted: 12, heldBackBy: ['bounds'] },
    },
    {
      name: 'grows a small class by 4 at a time',
      given: { workers: 3, averageLoad: 0, queuedTasks: 1_000, workerTasksPerS: 1 / 60 },
      expected: { desired: 7, wanted: 1_000, heldBackBy: ['bounds', 'rate'] },
    },
    {
      name: 'grows a larger one to the double at a time',
      given: { workers: 10, averageLoad: 0, queuedTasks: 1_000, workerTasksPerS: 1 / 60 },
      expected: { desired: 20, wanted: 1_000, heldBackBy: ['bounds', 'rate'] },
    },
    {
      name: 'starts what is missing to a minimum above the size',
      given: { workers: 2, minWorkers: 10, maxWorkers: 20 },
      expected: { desired: 10, rule: 'bounds', action: 'up' },
    },
    {
      name: 'stops what is too much for a maximum below the size',
      given: { workers: 20, minWorkers: 1, maxWorkers: 4 },
      expected: { desired: 4, rule: 'bounds', action: 'down' },
    },
  ];

  it.each(cases)('$name', ({ given, policy, expected }) => {
    expect(decided(given, { ...AT_ONCE, ...policy })).toMatchObject(expected);
  });

  const minutesAgo = (minutes: number, desired: number): ScalingMemory['recommendations'][number] => ({
    atMs: NOW - minutes * 60_000,
    desired,
  });

  it.each([
    { name: 'the highest of the window', past: [minutesAgo(2, 4), minutesAgo(1, 5)], expected: 5 },
    { name: 'the newest, if that is the highest', past: [minutesAgo(2, 1), minutesAgo(1, 2)], expected: 3 },
    { name: 'nothing older than the window', past: [minutesAgo(10, 10), minutesAgo(9, 9)], expected: 3 },
    {
      name: 'the highest that is not older',
      past: [minutesAgo(10, 10), minutesAgo(9, 9), minutesAgo(2, 5), minutesAgo(1, 4)],
      expected: 5,
    },
    { name: 'nothing at the very end of the window', past: [minutesAgo(5, 5)], expected: 3 },
  ])('shrinks to $name', ({ past, expected }) => {
    // 6 workers at a load of 0.35 for a target of 0.7: 3 are wanted.
    const policy = { ...AT_ONCE, scaleDownLoad: 0.6, scaleDownStabilizationMs: 300_000 };
    const memory = { lastChangeAtMs: null, recommendations: past };
    expect(decided({ workers: 6, averageLoad: 0.35 }, policy, memory)).toMatchObject({
      desired: expected,
      wanted: 3,
    });
  });

  it('remembers no more than can still count', () => {
    let memory = NO_MEMORY;
    for (let round = 0; round < 5_000; round++) {
      const averageLoad = round < 2_500 ? 0.7 : 0.1;
      memory = decide(sample({ nowMs: NOW + round * 50, averageLoad }), POLICY, memory).memory;
    }
    expect(memory.recommendations.map(({ desired }) => desired)).toEqual([5, 1]);
  });

  it('keeps its first size for a whole window', () => {
    const policy = { ...AT_ONCE, scaleDownStabilizationMs: 300_000 };
    let memory = NO_MEMORY;
    const sizes = Array.from({ length: 31 }, (_, round) => {
      const made = decide(sample({ ...idle, nowMs: NOW + round * 10_000 }), policy, memory);
      memory = made.memory;
      return made.decision.desired;
    });
    expect(sizes).toEqual([...Array<number>(30).fill(5), 3]);
  });
});

describe('what holds a change back', () => {
  it('is the cooldown of the last one', () => {
    const busy = { averageLoad: 1 };
    expect(decided(busy, POLICY, changedAgo(14_999))).toMatchObject({
      desired: 5,
      action: 'none',
      wanted: 8,
      heldBackBy: ['cooldown'],
      cooldownLeftMs: 1,
    });
    expect(decided(busy, POLICY, changedAgo(15_000))).toMatchObject({
      desired: 8,
      heldBackBy: [],
      cooldownLeftMs: 15_000,
    });
  });

  it('is not the cooldown when a size is out of its bounds, and mending that begins none', () => {
    const { decision, memory } = decide(
      sample({ workers: 1, minWorkers: 2, averageLoad: 1 }),
      POLICY,
      changedAgo(1),
    );
    expect(decision).toMatchObject({ desired: 2, rule: 'bounds', action: 'up' });
    expect(memory.lastChangeAtMs).toBe(NOW - 1);
  });

  it('is not the cooldown at size zero while work waits that nobody can run; but while another class can', () => {
    expect(decided({ workers: 0, unmetTasks: 1 }, POLICY, changedAgo(1))).toMatchObject({ desired: 1 });
    expect(decided({ workers: 0, queuedTasks: 1 }, POLICY, changedAgo(1))).toMatchObject({
      desired: 0,
      heldBackBy: ['cooldown'],
    });
  });

  it('is a pause, except from mending the bounds', () => {
    expect(decided({ paused: true, averageLoad: 1 })).toMatchObject({
      desired: 5,
      wanted: 8,
      heldBackBy: ['paused'],
    });
    expect(decided({ paused: true, workers: 0, unmetTasks: 9 })).toMatchObject({ desired: 0 });
    expect(decided({ paused: true, workers: 30, maxWorkers: 20, ...idle })).toMatchObject({ desired: 20 });
  });

  it.each([
    [20, 10],
    [10, 5],
    [5, 3],
    [3, 2],
    [2, 1],
    [1, 0],
  ])('is the rate on the way down: from %d to %d', (workers, expected) => {
    expect(decided({ workers, averageLoad: 0 }).desired).toBe(expected);
  });

  it('is said in one sentence with the numbers', () => {
    expect(decided({ workers: 3, queuedTasks: 1_200, workerTasksPerS: 2.5 }, POLICY).reason).toBe(
      '1200 tasks wait and 2.1 of 3 live workers are busy: at 2.50 tasks/s a worker, 11 workers are needed to end what waits within 60 s; kept to 7: one change goes no further',
    );
    expect(decided({ workers: 4, averageLoad: 0, minWorkers: 2 }, POLICY).reason).toBe(
      'average load 0.00 of 4 live workers is below 0.3 and 0 tasks wait: what runs needs 0 workers; kept to 4: more was wanted within the last 300 s',
    );
    expect(decided({ workers: 1, minWorkers: 2 }).reason).toBe('1 workers are fewer than the minimum of 2');
  });
});

describe('whatever comes', () => {
  const policies = fc.record({
    scaleUpLoad: fc.double({ min: 0.01, max: 1, noNaN: true }),
    scaleDownLoad: fc.double({ min: 0, max: 1, noNaN: true }),
    queueHighWaterMark: fc.nat(2_000),
    queueLowWaterMark: fc.nat(200),
    scalingCooldownMs: fc.nat(120_000),
    scaleDownStabilizationMs: fc.nat(400_000),
    scalingDrainTargetMs: fc.integer({ min: 100, max: 120_000 }),
  });
  const samples = fc.record({
    liveWorkers: fc.nat(40),
    averageLoad: fc.double({ min: 0, max: 1, noNaN: true }),
    queuedTasks: fc.nat(3_000),
    unmetTasks: fc.oneof(fc.constant(0), fc.nat(50)),
    workerTasksPerS: fc.option(fc.double({ min: 0.001, max: 100, noNaN: true })),
    minWorkers: fc.nat(10),
    extraWorkers: fc.nat(30),
    paused: fc.boolean(),
    laterMs: fc.integer({ min: 50, max: 60_000 }),
  });

  interface Round {
    sample: PoolSample;
    before: ScalingMemory;
    decision: ScalingDecision;
    after: ScalingMemory;
  }

  const runs = fc
    .record({
      policy: policies,
      first: fc.nat(40),
      samples: fc.array(samples, { minLength: 1, maxLength: 40 }),
    })
    .map(({ policy, first, samples }) => {
      const rounds: Round[] = [];
      let [nowMs, desired, memory] = [0, first, NO_MEMORY];
      for (const { extraWorkers, laterMs, ...rest } of samples) {
        nowMs += laterMs;
        const seen = { ...rest, nowMs, desired, maxWorkers: rest.minWorkers + extraWorkers };
        const made = decide(seen, policy, memory);
        rounds.push({ sample: seen, before: memory, decision: made.decision, after: made.memory });
        [desired, memory] = [made.decision.desired, made.memory];
      }
      return { policy, rounds };
    });

  it('the size is whole and within its bounds, and paused means that only bounds change it', () => {
    fc.assert(
      fc.property(runs, ({ rounds }) => {
        for (const { sample, decision } of rounds) {
          expect(Number.isInteger(decision.desired)).toBe(true);
          expect(decision.desired).toBeGreaterThanOrEqual(sample.minWorkers);
          expect(decision.desired).toBeLessThanOrEqual(sample.maxWorkers);
          if (sample.paused) {
            expect(decision.desired).toBe(clampTo(sample));
          }
        }
      }),
    );
  });

  it('there is one change a cooldown, but for mended bounds and for leaving zero', () => {
    fc.assert(
      fc.property(runs, ({ policy, rounds }) => {
        let lastAtMs = -Infinity;
        for (const { sample, decision } of rounds) {
          if (decision.desired === clampTo(sample)) {
            continue;
          }
          const leavesZero = sample.desired === 0 && sample.unmetTasks > 0;
          expect(leavesZero || sample.nowMs - lastAtMs >= policy.scalingCooldownMs).toBe(true);
          expect(decision.cooldownLeftMs).toBe(policy.scalingCooldownMs);
          lastAtMs = sample.nowMs;
        }
      }),
    );
  });

  it('a change goes no further than the rate, and down only while load and queue are low', () => {
    fc.assert(
      fc.property(runs, ({ policy, rounds }) => {
        for (const { sample, decision } of rounds) {
          const from = clampTo(sample);
          expect(decision.desired).toBeLessThanOrEqual(Math.max(from + 4, from * 2));
          expect(decision.desired).toBeGreaterThanOrEqual(Math.min(from - 1, Math.ceil(from / 2)));
          if (decision.desired < from) {
            const waiting = sample.queuedTasks + sample.unmetTasks;
            expect(sample.liveWorkers === 0 || sample.averageLoad < policy.scaleDownLoad).toBe(true);
            expect(waiting).toBeLessThan(Math.max(1, policy.queueLowWaterMark));
          }
        }
      }),
    );
  });

  it('it shrinks to nothing lower than what was wanted at any moment of the window', () => {
    fc.assert(
      fc.property(runs, ({ policy, rounds }) => {
        rounds.forEach(({ sample, decision }, index) => {
          const window = rounds
            .slice(0, index + 1)
            .filter(({ sample: { nowMs } }) => sample.nowMs - nowMs < policy.scaleDownStabilizationMs);
          const highest = Math.max(decision.wanted, ...window.map((round) => round.decision.wanted));
          if (decision.desired < clampTo(sample)) {
            expect(decision.desired).toBeGreaterThanOrEqual(Math.min(highest, sample.maxWorkers));
          }
        });
      }),
    );
  });

  it('the size differs from what was wanted exactly when something is named that held it back', () => {
    fc.assert(
      fc.property(runs, ({ rounds }) => {
        for (const { decision } of rounds) {
          expect(decision.heldBackBy.length > 0 || decision.desired === decision.wanted).toBe(true);
        }
      }),
    );
  });

  it('the same work asks for no more, round after round, while the workers that it asked for start', () => {
    fc.assert(
      fc.property(policies, samples, fc.nat(40), (policy, work, first) => {
        let [desired, memory] = [first, NO_MEMORY];
        const wanted = Array.from({ length: 10 }, (_, round) => {
          const seen = { ...work, nowMs: round * 10_000, desired, minWorkers: 0, maxWorkers: 100_000 };
          const made = decide(seen, { ...policy, scalingCooldownMs: 0 }, memory);
          [desired, memory] = [made.decision.desired, made.memory];
          return made.decision.wanted;
        });
        expect(Math.max(...wanted)).toBeLessThanOrEqual(Math.max(first, wanted[0]!));
      }),
    );
  });

  it('a full worker more, with the same work waiting, asks for a worker more', () => {
    const fullWorkers = fc.integer({ min: 1, max: 40 });
    fc.assert(
      fc.property(policies, samples, fullWorkers, fullWorkers, (policy, work, workers, more) => {
        const wanted = (size: number): number => {
          const full = {
            ...work,
            nowMs: 0,
            desired: size,
            liveWorkers: size,
            averageLoad: 1,
            maxWorkers: 100,
          };
          return decide(full, policy, NO_MEMORY).decision.wanted;
        };
        expect(wanted(workers + more)).toBeGreaterThanOrEqual(wanted(workers) + more);
      }),
    );
  });

  it('a steady load within the tolerance changes nothing, for an hour', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0.31, max: 0.769, noNaN: true }), { minLength: 360, maxLength: 360 }),
        fc.integer({ min: 1, max: 50 }),
        (loads, workers) => {
          expect(
            actionsOf(
              loads.map((averageLoad) => ({ averageLoad })),
              workers,
            ),
          ).toEqual([]);
        },
      ),
      { numRuns: 20 },
    );
  });

  it('is the same for the same input, and no input is changed', () => {
    fc.assert(
      fc.property(runs, ({ policy, rounds }) => {
        for (const { sample, before, decision, after } of rounds) {
          expect(decide(sample, policy, before)).toEqual({ decision, memory: after });
        }
      }),
    );
  });
});

describe('a queue that hovers, for an hour', () => {
  const rounds = Array.from({ length: 360 }, (_, round) => round);

  it('around the high watermark at its target load: workers are added, none is taken away again', () => {
    const seen = rounds.map((round) => ({ averageLoad: 0.7, queuedTasks: round % 2 === 0 ? 1_005 : 995 }));
    const actions = actionsOf(seen, 8, { maxWorkers: 20 });
    expect(actions.filter((action) => action === 'down')).toEqual([]);
    expect(actions.length).toBeLessThanOrEqual(12);
  });

  it('around the low watermark without load: nothing changes', () => {
    const seen = rounds.map((round) => ({ averageLoad: 0, queuedTasks: round % 2 === 0 ? 105 : 95 }));
    expect(actionsOf(seen, 8, { maxWorkers: 20 })).toEqual([]);
  });

  it('around the high watermark with an idle moment each 4 minutes: none is taken away', () => {
    const seen = rounds.map((round) =>
      round % 24 === 0 ? { averageLoad: 0, queuedTasks: 0 } : { averageLoad: 0.7, queuedTasks: 900 },
    );
    expect(actionsOf(seen, 8, { maxWorkers: 20 })).toEqual([]);
  });
});

/** What was done in rounds of 10 s, all workers live at once. */
function actionsOf(
  seen: Partial<PoolSample>[],
  workers: number,
  bounds: Partial<PoolSample> = {},
): ScalingDecision['action'][] {
  let [desired, memory] = [workers, NO_MEMORY];
  return seen
    .map((given, round) => {
      const at = { nowMs: round * 10_000, desired, liveWorkers: desired };
      const made = decide(sample({ ...bounds, ...given, ...at }), POLICY, memory);
      [desired, memory] = [made.decision.desired, made.memory];
      return made.decision.action;
    })
    .filter((action) => action !== 'none');
}

function clampTo({ desired, minWorkers, maxWorkers }: PoolSample): number {
  return Math.min(maxWorkers, Math.max(minWorkers, desired));
}
