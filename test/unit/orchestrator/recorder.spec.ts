import { EventEmitter } from 'node:events';
import { describe, expect, it } from '@jest/globals';
import { Recorder } from '../../../src/orchestrator/recorder.js';
import type { TaskReport } from '../../../src/queue/contracts/reports.js';
import { WriteGate } from '../../../src/store/write-gate.js';
import { LeastBusy } from '../../../src/worker/selection/least-busy.js';
import { WorkerPool } from '../../../src/worker/worker-pool.js';
import { registration, seededRandom } from '../../support/workers.js';

const FAILURE = { code: 'timeout', message: 'took too long', retryable: false };

/** With two workers of a hundred slots each, `a` and `b`, whose clock stands still. */
function setUp() {
  const pool = new WorkerPool({
    strategy: new LeastBusy(seededRandom(1), () => 0),
    loadLimitPercent: 80,
    now: () => 0,
  });
  for (const workerId of ['a', 'b']) {
    pool.setLifecycle(pool.register(registration({ workerId, slots: 100, takesAhead: 5 })), 'ready');
  }
  const record = { attempt: 1, maxAttempts: 1, pastAttempts: [], backoff: null, cancelRequestedAt: null };
  const store = {
    get: () => Promise.resolve(record),
    finish: (ends: readonly { executionId: string }[]) =>
      Promise.resolve(new Map(ends.map(({ executionId }) => [executionId, null]))),
  };
  const recorder = new Recorder(
    { resultLimitBytes: 1_000, retryTiersMs: [] } as never,
    store as never,
    new WriteGate(),
    Object.assign(new EventEmitter(), { pool }) as never,
    { awaited: () => [], ended: () => undefined } as never,
    { mayAct: true } as never,
    { kick: () => undefined } as never,
    { recorded: () => undefined } as never,
  );
  return { pool, recorder };
}

const completed = (durationMs: number, executionId = 'e'): TaskReport => ({
  executionId,
  attempt: 1,
  kind: 'completed',
  durationMs,
  result: {},
});

/** How many of `count` tasks in a row go to the same worker, before another one gets any. */
function firstRun(pool: WorkerPool, count: number): number {
  const given = Array.from({ length: count }, (_, index) => {
    const { workerId } = pool.pick('delay')!;
    pool.hold(`given-${index}`, 1, workerId);
    return workerId;
  });
  const end = given.findIndex((workerId) => workerId !== given[0]);
  return end === -1 ? count : end;
}

describe('what the reports of a worker say of its tasks', () => {
  it('is that those of one message took its time together: as many as fit into 25 ms go out together', async () => {
    const { pool, recorder } = setUp();
    for (let message = 0; message < 40; message++) {
      for (const workerId of ['a', 'b']) {
        // One behind the other in one process: one of them waited for all the others.
        await recorder.record(
          Array.from({ length: 50 }, (_, index) => completed((50 - index) * 0.3)),
          workerId,
        );
      }
    }
    expect(firstRun(pool, 150)).toBe(83);
  });

  it('is that one which came by itself had the worker to itself', async () => {
    const { pool, recorder } = setUp();
    for (let message = 0; message < 500; message++) {
      for (const workerId of ['a', 'b']) await recorder.record([completed(4.9)], workerId);
    }
    expect(firstRun(pool, 20)).toBe(5);
  });

  it('is nothing where they failed, and nothing of those that ended beside them', async () => {
    const { pool, recorder } = setUp();
    const failed: TaskReport = { ...completed(60_000), kind: 'failed', error: FAILURE, result: undefined };
    for (let message = 0; message < 250; message++) {
      for (const workerId of ['a', 'b']) {
        await recorder.record([completed(4.9), failed, completed(4.9)], workerId);
      }
    }
    expect(firstRun(pool, 40)).toBe(10);
  });
});
