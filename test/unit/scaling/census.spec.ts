import { describe, expect, it } from '@jest/globals';
import { parseWorkerClass } from '../../../src/config/worker-class.js';
import { type Census, type Driven, takeCensus } from '../../../src/scaling/census.js';
import { planWish } from '../../../src/scaling/wish.js';
import type { WorkerInstance } from '../../../src/scaling/worker-driver.js';
import { LeastBusy } from '../../../src/worker/selection/least-busy.js';
import { WorkerPool } from '../../../src/worker/worker-pool.js';
import { registration } from '../../support/workers.js';

const CLASSES = ['general:1-9', 'sql:0-4:postgresql-query'].map(parseWorkerClass);

/** A pool of these workers, all ready; the number is what each holds. */
function poolOf(held: Record<string, number>, workerClass?: string): WorkerPool {
  const pool = new WorkerPool({ strategy: new LeastBusy(() => 0), loadLimitPercent: 80, now: () => 0 });
  for (const [workerId, count] of Object.entries(held)) {
    const worker = pool.register(registration({ workerId, ...(workerClass && { workerClass }) }));
    pool.setLifecycle(worker, 'ready');
    for (let index = 0; index < count; index++) {
      pool.hold(`${workerId}-${index}`, 1, workerId);
    }
  }
  return pool;
}

let age = 0;
const instance = (workerId: string, changes: Partial<WorkerInstance> = {}): WorkerInstance => ({
  workerId,
  workerClass: 'general',
  retiring: false,
  startedAtMs: age++,
  ...changes,
});

const driven = (instances: WorkerInstance[] | null, changes: Partial<Driven> = {}): Driven => ({
  instances,
  has: (workerId) => instances?.some((each) => each.workerId === workerId) ?? false,
  isStray: () => false,
  ...changes,
});

const censusOf = (pool: WorkerPool, from: Driven, name = 'general'): Census =>
  takeCensus(CLASSES, pool.all(), from).get(name)!;

describe('the census', () => {
  it('counts a worker that names no class, or an unknown one, to the first', () => {
    const pool = poolOf({ plain: 0 });
    pool.register(registration({ workerId: 'odd', workerClass: 'none-such' }));
    pool.register(registration({ workerId: 'special', workerClass: 'sql' }));
    const censuses = takeCensus(CLASSES, pool.all(), driven([]));
    const ids = (name: string): string[] => censuses.get(name)!.live.map(({ workerId }) => workerId);
    expect([ids('general'), ids('sql')]).toEqual([['plain', 'odd'], ['special']]);
    expect(censuses.get('general')).toMatchObject({ ready: 1, foreign: 2, serving: [], ending: [] });
  });

  it('tells workers of the driver from others, and from those whose process has ended', () => {
    const pool = poolOf({ ours: 0, theirs: 0, dead: 0 });
    const census = censusOf(
      pool,
      driven([instance('ours'), instance('starting')], { has: (workerId) => workerId !== 'theirs' }),
    );
    expect(census.live.map(({ workerId }) => workerId)).toEqual(['ours', 'theirs']);
    expect(census).toMatchObject({ foreign: 1, ending: [] });
    expect(census.serving.map(({ workerId }) => workerId)).toEqual(['ours', 'starting']);
  });

  it('lets those end that drain, that hang, and that belong to no class any more', () => {
    const pool = poolOf({ draining: 2, fine: 0, hanging: 0, asked: 0 });
    pool.setLifecycle(pool.get('draining')!, 'draining');
    const instances = [
      instance('draining'),
      instance('fine'),
      instance('hanging'),
      instance('asked', { retiring: true }),
      instance('old', { workerClass: 'was-once' }),
    ];
    const census = censusOf(pool, driven(instances, { isStray: (workerId) => workerId === 'hanging' }));
    expect(census.ending).toEqual(['draining', 'hanging', 'asked', 'old']);
    expect(census.serving.map(({ workerId }) => workerId)).toEqual(['fine']);
    expect(census.draining).toBe(1);
  });

  it('takes every worker for the driver’s own where the driver cannot know', () => {
    const pool = poolOf({ a: 0, b: 1 });
    pool.setLifecycle(pool.get('a')!, 'draining');
    const census = censusOf(pool, driven(null));
    expect(census).toMatchObject({ foreign: 0, ending: ['a'] });
    expect(census.serving.map(({ workerId }) => workerId)).toEqual(['b']);
  });
});

describe('the wish', () => {
  const planFor = (held: Record<string, number>, ours: string[], desired: number, mayLaunch = true) => {
    const instances = ours.map((workerId) => instance(workerId));
    return planWish(censusOf(poolOf(held), driven(instances)), desired, mayLaunch);
  };

  it('asks for what is missing, workers of others counted in', () => {
    expect(planFor({ a: 0, theirs: 0 }, ['a'], 4)).toEqual({ instances: 3, retire: [], chosen: [] });
    expect(planFor({ t1: 0, t2: 0, t3: 0 }, [], 2)).toEqual({ instances: 0, retire: [], chosen: [] });
  });

  it('lets the least busy go first, of equals the youngest, and never one of others', () => {
    const held = { a: 3, b: 1, c: 1, d: 2, theirs: 0 };
    expect(planFor(held, ['a', 'b', 'c', 'd'], 3).chosen).toEqual(['c', 'b']);
    expect(planFor({ a: 0 }, ['a', 'starting'], 1).chosen).toEqual(['starting']);
    expect(planFor({ a: 1, theirs: 0 }, ['a'], 0)).toEqual({ instances: 0, retire: ['a'], chosen: ['a'] });
  });

  it('launches nothing during a back-off, and goes on letting go', () => {
    expect(planFor({ a: 0 }, ['a'], 5, false)).toEqual({ instances: 1, retire: [], chosen: [] });
    expect(planFor({ a: 0, b: 0 }, ['a', 'b'], 1, false).chosen).toHaveLength(1);
  });
});
