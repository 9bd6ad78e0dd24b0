import { beforeEach, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { LeastBusy } from '../../../src/worker/selection/least-busy.js';
import { RoundRobin } from '../../../src/worker/selection/round-robin.js';
import type { Strategy } from '../../../src/worker/selection/selection.js';
import { Weighted } from '../../../src/worker/selection/weighted.js';
import { WorkerPool } from '../../../src/worker/worker-pool.js';
import { heartbeat, registration, seededRandom } from '../../support/workers.js';

function poolOf(strategy: Strategy, ...workers: Parameters<typeof registration>[0][]): WorkerPool {
  const pool = new WorkerPool({ strategy, loadLimitPercent: 80, now: () => 0 });
  workers.forEach((worker) => pool.setLifecycle(pool.register(registration(worker)), 'ready'));
  return pool;
}

function assign(pool: WorkerPool, count: number, types = 'delay'): (string | null)[] {
  return Array.from({ length: count }, (_, index) => {
    const worker = pool.pick(types);
    if (worker) {
      pool.hold(`${types}-${index}`, 1, worker.workerId);
    }
    return worker?.workerId ?? null;
  });
}

describe('the worker pool', () => {
  it('gives a task only to a worker that supports every node type of its flow', () => {
    const pool = poolOf(
      new LeastBusy(seededRandom(1)),
      { workerId: 'plain', supportedNodeTypes: ['delay', 'log'] },
      { workerId: 'sql', supportedNodeTypes: ['delay', 'log', 'postgresql-query'] },
    );
    expect(pool.pick('delay,postgresql-query')?.workerId).toBe('sql');
    expect(pool.pick('mongodb-operations')).toBeNull();
    expect(pool.classState('mongodb-operations')).toBe('none');
  });

  it('says that a class is full when every worker that supports it is, although others are free', () => {
    const pool = poolOf(
      new LeastBusy(seededRandom(1)),
      { workerId: 'plain' },
      { workerId: 'sql', slots: 1, supportedNodeTypes: ['sql'] },
    );
    pool.hold('e', 1, 'sql');
    expect(pool.classState('sql')).toBe('full');
    expect(pool.classState('delay')).toBe('free');
    pool.release('e', 1);
    expect(pool.classState('sql')).toBe('free');
  });

  it('gives nothing to a worker that is joining, draining, suspect, critical or over its memory or CPU limit', () => {
    const pool = new WorkerPool({ strategy: new RoundRobin(), loadLimitPercent: 80, now: () => 0 });
    const worker = pool.register(registration({ workerId: 'w' }));
    expect(pool.pick('delay')).toBeNull();
    pool.setLifecycle(worker, 'ready');
    expect(pool.pick('delay')).toBe(worker);

    const load = {
      activeFlows: 0,
      activeNodes: 0,
      memoryUsagePercent: 10,
      cpuUsagePercent: 10,
      queuedTasks: 0,
    };
    pool.heartbeat(heartbeat({ workerId: 'w', currentLoad: { ...load, memoryUsagePercent: 81 } }));
    expect(pool.pick('delay')).toBeNull();
    pool.heartbeat(heartbeat({ workerId: 'w', currentLoad: { ...load, cpuUsagePercent: 80 } }));
    expect(pool.pick('delay')).toBeNull();
    pool.heartbeat(heartbeat({ workerId: 'w', status: 'critical' }));
    expect(pool.pick('delay')).toBeNull();
    pool.heartbeat(heartbeat({ workerId: 'w' }));
    expect(pool.pick('delay')).toBe(worker);
    pool.setSuspect(worker, true);
    expect(pool.pick('delay')).toBeNull();
    pool.setSuspect(worker, false);
    pool.heartbeat(heartbeat({ workerId: 'w', draining: true }));
    expect(pool.pick('delay')).toBeNull();
  });

  it('does not know the heartbeat of a worker that never registered, or of an earlier process', () => {
    const pool = poolOf(new RoundRobin(), { workerId: 'w' });
    expect(pool.heartbeat(heartbeat({ workerId: 'stranger' }))).toBe(false);
    expect(pool.heartbeat(heartbeat({ workerId: 'w', incarnation: 'another' }))).toBe(false);
    expect(pool.heartbeat(heartbeat({ workerId: 'w' }))).toBe(true);
  });

  it('keeps the slots of a worker that registers again', () => {
    const pool = poolOf(new RoundRobin(), { workerId: 'w', slots: 2 });
    pool.hold('a', 1, 'w');
    pool.hold('b', 1, 'w');
    pool.setLifecycle(pool.register(registration({ workerId: 'w', slots: 2, incarnation: 'w-2' })), 'ready');
    expect(pool.pick('delay')).toBeNull();
    pool.release('a', 1);
    expect(pool.pick('delay')?.workerId).toBe('w');
  });

  it('rebuilds the ledger from the record, workers included that are not there', () => {
    const pool = poolOf(new RoundRobin(), { workerId: 'w', slots: 1 });
    pool.rebuild(7, [
      { executionId: 'a', attempt: 1, workerId: 'w', solo: false },
      { executionId: 'b', attempt: 2, workerId: 'elsewhere', solo: false },
    ]);
    expect(pool.pick('delay')).toBeNull();
    expect(pool.ledger.holders().toSorted()).toEqual(['elsewhere', 'w']);
    pool.rebuild(8, []);
    expect(pool.pick('delay')?.workerId).toBe('w');
  });

  it('never gives a worker more than its slots, and frees exactly what was held (property)', () => {
    const operation = fc.record({
      kind: fc.constantFrom('assign', 'assign', 'look', 'release', 'stale', 'end', 'wait'),
      id: fc.nat(30),
    });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 200 }), fc.constantFrom(0, 1, 2), (operations, which) => {
        const clock = { nowMs: 0 };
        const strategies = [
          new LeastBusy(seededRandom(3), () => clock.nowMs),
          new RoundRobin(),
          new Weighted(),
        ];
        const slots = { a: 1, b: 2, c: 5 };
        // Three groups, all of which can run a delay.
        const others: Record<string, string[]> = { a: [], b: ['log'], c: ['sql'] };
        const pool = poolOf(
          strategies[which]!,
          ...Object.entries(slots).map(([workerId, count]) => ({
            workerId,
            slots: count,
            supportedNodeTypes: ['delay', ...others[workerId]!],
          })),
        );
        const model = new Map<string, string>();
        for (const { kind, id } of operations) {
          const executionId = `e${id}`;
          if (kind === 'assign' && !model.has(executionId)) {
            const worker = pool.pick('delay');
            expect(worker === null).toBe(model.size === 8);
            if (worker) {
              pool.hold(executionId, 1, worker.workerId);
              model.set(executionId, worker.workerId);
            }
          } else if (kind === 'look') {
            expect(pool.pick('delay') === null).toBe(model.size === 8);
          } else if (kind === 'release') {
            expect(pool.release(executionId, 1)?.workerId).toBe(model.get(executionId));
            model.delete(executionId);
          } else if (kind === 'end') {
            // Its tasks are short, so it may get runs of them.
            for (let task = 0; task < 300; task++) pool.ran(Object.keys(slots)[id % 3]!, 1);
          } else if (kind === 'wait') {
            clock.nowMs += id;
          } else {
            expect(pool.release(executionId, 99)).toBeNull();
          }
          for (const [workerId, count] of Object.entries(slots)) {
            const held = [...model.values()].filter((holder) => holder === workerId).length;
            expect(held).toBeLessThanOrEqual(count);
            expect(pool.ledger.count(workerId)).toBe(held);
          }
        }
      }),
    );
  });
});

describe('a worker whose tasks are short', () => {
  const SHORT_MS = 1;
  /** Full, both of them, once `a` and `b` have shown how long their tasks take. */
  const pairOf = (strategy: Strategy, runMs: number, takesAhead = 5): WorkerPool => {
    const pool = poolOf(
      strategy,
      { workerId: 'a', slots: 2, takesAhead },
      { workerId: 'b', slots: 2, takesAhead },
    );
    for (let task = 0; task < 500; task++) {
      pool.ran('a', runMs);
      pool.ran('b', runMs);
    }
    expect(assign(pool, 4, 'delay')).not.toContain(null);
    return pool;
  };
  const strategies = [
    ['least_busy', (): Strategy => new LeastBusy(seededRandom(1))],
    ['round_robin', (): Strategy => new RoundRobin()],
    ['weighted', (): Strategy => new Weighted()],
  ] as const;

  it.each(strategies)('is given five a slot ahead, when no other worker has one free (%s)', (_, create) => {
    const pool = pairOf(create(), SHORT_MS);
    expect(pool.classState('log')).toBe('free');
    const given = [...Array<string>(10).fill('a'), ...Array<string>(10).fill('b')];
    expect(assign(pool, 21, 'log').toSorted()).toEqual([...given, null]);
    expect(pool.classState('log')).toBe('full');
    pool.release('log-0', 1);
    expect(pool.pick('log')).not.toBeNull();
  });

  it.each([
    [4, 5],
    [6, 4],
    [12, 2],
    [24, 1],
    [26, 0],
  ])('of %d ms is given %d a slot ahead: what takes its slots 25 ms', (runMs, ahead) => {
    const pool = pairOf(new LeastBusy(seededRandom(1)), runMs);
    const given = assign(pool, 30, 'log').filter((workerId) => workerId !== null);
    expect(given).toHaveLength(2 * 2 * ahead);
  });

  it('may end as many in a second as its slots and their time allow', () => {
    const pool = pairOf(new LeastBusy(seededRandom(1)), 4);
    expect(pool.shortTasksPerS('log')).toBeCloseTo(2 * 2 * 250, 0);
    expect(pool.shortTasksPerS('unknown')).toBe(0);
    pool.setSuspect(pool.get('a')!, true);
    expect(pool.shortTasksPerS('log')).toBeCloseTo(2 * 250, 0);
    for (let task = 0; task < 500; task++) pool.ran('b', 30);
    expect(pool.shortTasksPerS('log')).toBe(0);
  });

  it('has ended as many in a second as the last second tells', () => {
    let nowMs = 0;
    const pool = new WorkerPool({ strategy: new RoundRobin(), loadLimitPercent: 80, now: () => nowMs });
    pool.setLifecycle(pool.register(registration({ workerId: 'a' })), 'ready');
    expect(pool.endedPerS('log')).toBe(0);
    for (nowMs = 0; nowMs < 3_000; nowMs += 10) pool.ran('a', SHORT_MS);
    expect(pool.endedPerS('log')).toBeCloseTo(100, 0);
    expect(pool.endedPerS('unknown')).toBe(0);
    nowMs += 400;
    expect(pool.endedPerS('log')).toBeLessThan(100);
    nowMs += 1_000;
    expect(pool.endedPerS('log')).toBe(0);
  });

  it('is given no more ahead than it takes', () => {
    expect(assign(pairOf(new RoundRobin(), SHORT_MS, 2), 9, 'log')).toContain(null);
    expect(assign(pairOf(new RoundRobin(), SHORT_MS, 2), 8, 'log')).not.toContain(null);
  });

  it('gets none ahead for a task that needs a slot', () => {
    const pool = pairOf(new RoundRobin(), SHORT_MS);
    expect(pool.canTake('log', false, false)).toBe(false);
    expect(pool.pick('log', false, false)).toBeNull();
    pool.release('delay-0', 1);
    expect(pool.canTake('log', false, false)).toBe(true);
    expect(pool.pick('log', false, false)).not.toBeNull();
  });

  it('gets no more ahead when its tasks have become longer meanwhile', () => {
    const pool = pairOf(new Weighted(), SHORT_MS);
    const given = assign(pool, 10, 'log');
    for (const workerId of ['a', 'b']) {
      for (let task = 0; task < 100; task++) pool.ran(workerId, 20);
      pool.release(`log-${given.indexOf(workerId)}`, 1);
    }
    expect(pool.pick('log')).toBeNull();
  });

  it.each(strategies)(
    'gets none ahead while another that can run the task has a free slot (%s)',
    (_, create) => {
      const pool = pairOf(create(), SHORT_MS);
      pool.setLifecycle(pool.register(registration({ workerId: 'c', slots: 3 })), 'ready');
      expect(assign(pool, 3, 'log')).toEqual(['c', 'c', 'c']);
    },
  );

  it('gets none ahead if its tasks take long, if it is new, or if it does not say that it takes them', () => {
    expect(pairOf(new RoundRobin(), 26).pick('log')).toBeNull();
    expect(pairOf(new RoundRobin(), SHORT_MS, 0).pick('log')).toBeNull();
    const fresh = poolOf(new RoundRobin(), { workerId: 'a', slots: 1, takesAhead: 5 });
    fresh.hold('e', 1, 'a');
    expect(fresh.pick('log')).toBeNull();
  });

  it('gets none ahead when it is suspect, draining, kept free, or runs a task alone', () => {
    const pool = pairOf(new RoundRobin(), SHORT_MS);
    const [a, b] = [pool.get('a')!, pool.get('b')!];
    pool.setLifecycle(b, 'draining');
    expect(pool.pick('log')?.workerId).toBe('a');
    pool.setSuspect(a, true);
    expect(pool.pick('log')).toBeNull();
    pool.setSuspect(a, false);
    pool.keepFree('log');
    expect(pool.pick('log')).toBeNull();
    pool.keepFree(null);
    pool.rebuild(
      1,
      ['x', 'y'].map((executionId) => ({ executionId, attempt: 1, workerId: 'a', solo: true })),
    );
    expect(pool.pick('log')).toBeNull();
  });

  it.each(['an end', 'a heartbeat'])(
    'gets nothing once it was late with one, until %s shows a free slot',
    (by) => {
      const pool = poolOf(new RoundRobin(), { workerId: 'a', slots: 2 });
      pool.wasLate('a');
      expect(pool.pick('log')).toBeNull();
      const load = { ...heartbeat({ workerId: 'a' }).currentLoad, activeFlows: 2 };
      pool.heartbeat(heartbeat({ workerId: 'a', currentLoad: load }));
      expect(pool.pick('log')).toBeNull();
      if (by === 'an end') {
        pool.ran('a', 60_000);
      } else {
        pool.heartbeat(heartbeat({ workerId: 'a', currentLoad: { ...load, activeFlows: 1 } }));
      }
      expect(pool.pick('log')?.workerId).toBe('a');
    },
  );

  it('gets none ahead once it was late with one, until its tasks are short again', () => {
    const pool = poolOf(new RoundRobin(), { workerId: 'a', slots: 1, takesAhead: 5 });
    for (let task = 0; task < 200; task++) pool.ran('a', SHORT_MS);
    pool.hold('e', 1, 'a');
    expect(pool.pick('log')).not.toBeNull();
    pool.wasLate('a');
    expect(pool.pick('log')).toBeNull();
    for (let task = 0; task < 200; task++) pool.ran('a', SHORT_MS);
    pool.release('e', 1);
    pool.hold('e', 1, 'a');
    expect(pool.pick('log')).not.toBeNull();
  });
});

describe('a task that has to be alone', () => {
  const pair = (): WorkerPool =>
    poolOf(new RoundRobin(), { workerId: 'a', slots: 3 }, { workerId: 'b', slots: 3 });

  it('gets a worker that holds nothing, and that worker gets nothing else until it ends', () => {
    const pool = pair();
    pool.hold('neighbour', 1, 'a');
    expect(pool.pick('delay', true)?.workerId).toBe('b');
    pool.hold('suspect', 3, 'b', true);
    expect(assign(pool, 3)).toEqual(['a', 'a', null]);
    expect(pool.canTake('delay', true)).toBe(false);
    pool.release('suspect', 3);
    expect(pool.pick('delay')?.workerId).toBe('b');
  });

  it('is still alone with its worker after a failover, and after the worker registers again', () => {
    const pool = poolOf(new RoundRobin(), { workerId: 'a', slots: 3 });
    pool.rebuild(7, [{ executionId: 'suspect', attempt: 3, workerId: 'a', solo: true }]);
    expect(pool.pick('delay')).toBeNull();
    pool.setLifecycle(pool.register(registration({ workerId: 'a', slots: 3 })), 'ready');
    expect(pool.pick('delay')).toBeNull();
  });

  it('has the emptiest worker kept free for it, so that a busy pool does not starve it', () => {
    const pool = pair();
    pool.hold('a1', 1, 'a');
    pool.hold('a2', 1, 'a');
    pool.hold('b1', 1, 'b');
    pool.keepFree('delay');
    expect(assign(pool, 2)).toEqual(['a', null]);
    pool.release('b1', 1);
    expect(pool.pick('delay')).toBeNull();
    expect(pool.pick('delay', true)?.workerId).toBe('b');
    pool.keepFree(null);
    expect(pool.pick('delay')?.workerId).toBe('b');
  });

  it('keeps no worker free that cannot run it, or that runs another one alone', () => {
    const pool = poolOf(new RoundRobin(), { workerId: 'a' }, { workerId: 'b', supportedNodeTypes: ['sql'] });
    pool.hold('other', 3, 'a', true);
    pool.keepFree('delay');
    expect(pool.pick('sql')?.workerId).toBe('b');
    expect(pool.canTake('delay', true)).toBe(false);
  });
});

describe('least_busy', () => {
  it('takes the worker with the smallest share of its slots taken', () => {
    const pool = poolOf(
      new LeastBusy(seededRandom(1)),
      { workerId: 'small', slots: 2 },
      { workerId: 'large', slots: 8 },
    );
    pool.hold('x', 1, 'small');
    pool.hold('y', 1, 'large');
    expect(assign(pool, 3)).toEqual(['large', 'large', 'large']);
  });

  it('fills a pool evenly', () => {
    const pool = poolOf(
      new LeastBusy(seededRandom(1)),
      ...['a', 'b', 'c', 'd'].map((workerId) => ({ workerId, slots: 10 })),
    );
    assign(pool, 20);
    expect(['a', 'b', 'c', 'd'].map((id) => pool.ledger.count(id))).toEqual([5, 5, 5, 5]);
  });

  describe('with tasks that are over in moments', () => {
    /** The pool's own stands at 0. */
    const clock = { nowMs: 0 };
    const shortPool = (runMs: number, slots = 20, shareMs = runMs): WorkerPool => {
      const pool = poolOf(
        new LeastBusy(seededRandom(1), () => clock.nowMs),
        { workerId: 'a', slots, takesAhead: 5 },
        { workerId: 'b', slots, takesAhead: 5 },
      );
      for (let task = 0; task < 500; task++) {
        ['a', 'b'].forEach((workerId) => pool.ran(workerId, runMs, shareMs));
      }
      return pool;
    };
    beforeEach(() => {
      clock.nowMs = 0;
    });

    it.each([
      [2.49, 10],
      [4.99, 5],
      [1.24, 20],
    ])('of %d ms, gives %d at a time to one worker, and to all of them alike', (runMs, run) => {
      const given = assign(shortPool(runMs), 40, 'log');
      for (let start = 0; start < given.length; start += run) {
        expect(new Set(given.slice(start, start + run)).size).toBe(1);
      }
      expect(given.filter((workerId) => workerId === 'a')).toHaveLength(20);
    });

    it('compares the shares again when a run is over', () => {
      const pool = shortPool(4.99);
      const [first] = assign(pool, 5, 'log');
      const other = first === 'a' ? 'b' : 'a';
      pool.release('log-0', 1);
      expect(assign(pool, 6, 'delay')).toEqual([...Array<string>(5).fill(other), first]);
    });

    it('ends a run with its moment', () => {
      const pool = shortPool(0.99);
      const [first, second] = assign(pool, 2, 'log');
      expect(second).toBe(first);
      clock.nowMs = 6;
      const later = assign(pool, 2, 'delay');
      expect(later).toEqual(Array<string>(2).fill(first === 'a' ? 'b' : 'a'));
    });

    it('goes on with the run of each class when those of two classes take turns', () => {
      const pool = shortPool(0.99);
      for (const workerId of ['c', 'd']) {
        pool.setLifecycle(pool.register(registration({ workerId, supportedNodeTypes: ['sql'] })), 'ready');
        for (let task = 0; task < 500; task++) pool.ran(workerId, 0.99);
      }
      const given = { log: new Set<string | null>(), sql: new Set<string | null>() };
      for (let turn = 0; turn < 4; turn++) {
        for (const type of ['log', 'sql'] as const) {
          const worker = pool.pick(type);
          given[type].add(worker!.workerId);
          pool.hold(`${type}-${turn}`, 1, worker!.workerId);
        }
      }
      expect(given.log.size).toBe(1);
      expect(given.sql.size).toBe(1);
    });

    it('goes on elsewhere when the worker of the run is full', () => {
      const given = assign(shortPool(0.99, 3), 6, 'log');
      expect(new Set(given.slice(0, 3)).size).toBe(1);
      expect(given.slice(3)).toEqual(Array<string>(3).fill(given[0] === 'a' ? 'b' : 'a'));
    });

    it('gives a worker that has ended nothing for a while no more than its share', () => {
      const pool = shortPool(0.99);
      clock.nowMs = 101;
      assign(pool, 10, 'log');
      expect(['a', 'b'].map((workerId) => pool.ledger.count(workerId))).toEqual([5, 5]);
    });

    it('learns nothing of how long tasks take from those that fail', () => {
      const pool = shortPool(26);
      for (let task = 0; task < 500; task++) pool.ran('a', null);
      expect(pool.get('a')!.meanRunMs).toBeCloseTo(26, 0);
    });

    it('goes by what they take of its time, where it runs several side by side', () => {
      const given = assign(shortPool(12, 20, 1.24), 20, 'log');
      expect(new Set(given).size).toBe(1);
    });

    it('forgets what they take when a worker had no slot for one', () => {
      const pool = shortPool(12, 20, 1.24);
      pool.wasLate('a');
      pool.wasLate('b');
      for (let task = 0; task < 150; task++) {
        ['a', 'b'].forEach((workerId) => pool.ran(workerId, 0, 1.24));
      }
      expect(pool.get('a')!.meanRunMs).toBeLessThan(12);
      const given = assign(pool, 20, 'log');
      expect(given.filter((workerId) => workerId === 'a')).toHaveLength(10);
    });

    it.each([
      [13, 13],
      [13, 0.1],
    ])('gives out tasks of %d ms one by one, though they take %d of its time', (runMs, shareMs) => {
      const given = assign(shortPool(runMs, 20, shareMs), 20, 'log');
      for (let index = 0; index < given.length; index += 2) expect(given[index]).not.toBe(given[index + 1]);
    });
  });

  it('breaks ties at random, repeatably under a seed', () => {
    const order = (seed: number): (string | null)[] =>
      assign(
        poolOf(
          new LeastBusy(seededRandom(seed)),
          ...['a', 'b', 'c', 'd', 'e'].map((workerId) => ({ workerId })),
        ),
        5,
      );
    expect(order(1)).toEqual(order(1));
    expect(new Set([1, 2, 3, 4, 5, 6].map((seed) => order(seed).join())).size).toBeGreaterThan(1);
  });
});

describe('round_robin', () => {
  it('goes round in order of the last turn', () => {
    const pool = poolOf(new RoundRobin(), { workerId: 'a' }, { workerId: 'b' }, { workerId: 'c' });
    expect(assign(pool, 7)).toEqual(['a', 'b', 'c', 'a', 'b', 'c', 'a']);
  });

  it('passes over a full worker, which keeps its place', () => {
    const pool = poolOf(new RoundRobin(), { workerId: 'a', slots: 1 }, { workerId: 'b' }, { workerId: 'c' });
    expect(assign(pool, 4)).toEqual(['a', 'b', 'c', 'b']);
    pool.release('delay-0', 1);
    expect(pool.pick('delay')?.workerId).toBe('a');
  });
});

describe('weighted', () => {
  it('spreads the weights 5, 1, 1 as a a b a c a a', () => {
    const many = 1_000_000;
    // Slots far beyond the picks keep free slots × weight in the proportion of the weights.
    const pool = poolOf(
      new Weighted(),
      { workerId: 'a', slots: many, weight: 5 },
      { workerId: 'b', slots: many, weight: 1 },
      { workerId: 'c', slots: many, weight: 1 },
    );
    const picks = Array.from({ length: 7 }, () => pool.pick('delay')?.workerId);
    expect(picks.join('')).toBe('aabacaa');
  });

  it('prefers free slots: a worker with twice as many gets about twice the tasks', () => {
    const pool = poolOf(new Weighted(), { workerId: 'small', slots: 10 }, { workerId: 'large', slots: 20 });
    assign(pool, 15);
    expect([pool.ledger.count('small'), pool.ledger.count('large')]).toEqual([5, 10]);
  });
});
