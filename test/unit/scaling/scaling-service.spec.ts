import { EventEmitter, once } from 'node:events';
import { afterEach, describe, expect, it } from '@jest/globals';
import { ScalingService } from '../../../src/scaling/scaling.service.js';
import type { PoolWish, WorkerExit, WorkerInstance } from '../../../src/scaling/worker-driver.js';

const CONFIG = {
  workerClasses: [],
  minWorkers: 2,
  maxWorkers: 2,
  workerDriver: 'process',
  scalingIntervalMs: 60_000,
  scaleUpLoad: 0.7,
  scaleDownLoad: 0.3,
  queueHighWaterMark: 1_000,
  queueLowWaterMark: 100,
  scalingCooldownMs: 60_000,
  scaleDownStabilizationMs: 300_000,
  scalingDrainTargetMs: 60_000,
};

/** A driver with two workers that have just been started, and a record that answers when it is told to. */
function setUp() {
  const running = new Map<string, WorkerInstance>();
  for (const workerId of ['a', 'b']) {
    running.set(workerId, { workerId, workerClass: 'default', retiring: false, startedAtMs: Date.now() });
  }
  const told = new EventEmitter<{ wish: [PoolWish]; asked: [] }>();
  let answerRecord = (): void => undefined;
  const driver = Object.assign(new EventEmitter(), {
    start: () => Promise.resolve(),
    stop: () => Promise.resolve(),
    instances: () => Promise.resolve([...running.values()]),
    reconcile: ([wish]: [PoolWish]) => {
      told.emit('wish', wish);
      return Promise.resolve();
    },
  });
  const store = {
    scalingRecords: () =>
      new Promise((resolve) => {
        answerRecord = () => resolve([]);
        told.emit('asked');
      }),
    recordScaling: () => Promise.resolve(new Set(['default'])),
  };
  const pool = { all: () => [].values(), get: () => null };
  const workers = Object.assign(new EventEmitter(), { pool, meetThePool: () => Promise.resolve() });
  const scaling = new ScalingService(
    CONFIG as never,
    store as never,
    workers as never,
    driver as never,
    { mayAct: true, epoch: 1 } as never,
    { read: () => Promise.resolve(new Map([['default', { queuedTasks: 0, unmetTasks: 0 }]])) } as never,
  );
  const crash = (workerId: string): void => {
    running.delete(workerId);
    driver.emit('exit', {
      workerId,
      workerClass: 'default',
      retiring: false,
      code: 3,
      signal: null,
      livedMs: 40,
    } satisfies WorkerExit);
  };
  return { scaling, told, crash, answerRecord: () => answerRecord() };
}

describe('scaling', () => {
  let scaling: ScalingService;
  afterEach(() => scaling.stop());

  it('launches none during a back-off, also if workers end while a round is under way', async () => {
    const system = setUp();
    ({ scaling } = system);
    scaling.start();
    await once(system.told, 'asked');
    system.crash('a');
    system.crash('b');
    const told = once(system.told, 'wish');
    system.answerRecord();
    const [wish] = (await told) as [PoolWish];
    expect(wish).toMatchObject({ instances: 0 });
  });
});
