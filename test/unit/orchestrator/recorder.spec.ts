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
  const write = (ends: readonly { executionId: string }[]) =>
    Promise.resolve(new Map(ends.map(({ executionId }) => [executionId, null])));
  const store = { get: () => Promise.resolve(record), finish: write, retryLater: write };
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

const completed = (durationMs: number | undefined, times: Partial<TaskReport> = {}): TaskReport => ({
  executionId: 'e',
  attempt: 1,
  kind: 'completed',
  durationMs,
  result: {},
  ...times,
});
const at = (ms: number): string => new Date(Date.UTC(2026, 0, 1) + ms).toISOString();

/** Both workers send this message over and over. */
async function say(recorder: Recorder, reports: TaskReport[], times = 500): Promise<void> {
  for (let message = 0; message < times; message++) {
    for (const workerId of ['a', 'b']) await recorder.record(reports, workerId);
  }
}

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

describe('how many go to a worker together', () => {
  it('is told by the time in which those of a message were done, if they ran side by side', async () => {
    const { pool, recorder } = setUp();
    // In one process: the one that was done last waited for all the others.
    const reports = Array.from({ length: 50 }, (_, index) =>
      completed((50 - index) * 0.3, { startedAt: at(0), finishedAt: at(15) }),
    );
    await say(recorder, reports, 40);
    expect(firstRun(pool, 150)).toBe(83);
  });

  it('is told by their own times, if they ran one after the other and only their reports came together', async () => {
    const { pool, recorder } = setUp();
    const reports = Array.from({ length: 20 }, (_, index) =>
      completed(4, { startedAt: at(4 * index), finishedAt: at(4 * index + 4) }),
    );
    await say(recorder, reports.toReversed(), 100);
    expect(firstRun(pool, 20)).toBe(6);
  });

  it('counts no less than the longest of them ran, though the clock was set back meanwhile', async () => {
    const { pool, recorder } = setUp();
    const times = { startedAt: at(0), finishedAt: at(-1_000) };
    await say(recorder, [completed(4.8, times), completed(0.1, times)]);
    expect(firstRun(pool, 40)).toBe(10);
  });

  it('does not count the time in which nothing ran', async () => {
    const { pool, recorder } = setUp();
    const reports = [0, 60_000].flatMap((ms) =>
      Array.from({ length: 5 }, () => completed(2.4, { startedAt: at(ms), finishedAt: at(ms + 3) })),
    );
    await say(recorder, reports, 100);
    expect(firstRun(pool, 40)).toBe(10);
  });

  it('goes by the longest where one of them does not say when it began', async () => {
    const { pool, recorder } = setUp();
    await say(recorder, [
      completed(4.8),
      completed(4.8, { startedAt: at(0), finishedAt: at(5) }),
      completed(4.8, { startedAt: at(100), finishedAt: at(105) }),
    ]);
    expect(firstRun(pool, 40)).toBe(15);
  });

  it('takes one that came by itself, or beside others that do not say how long they ran, for one that ran alone', async () => {
    const { pool, recorder } = setUp();
    await say(recorder, [completed(4.9)]);
    expect(firstRun(pool, 20)).toBe(5);
    await say(recorder, [completed(undefined), completed(2.4), completed(undefined)]);
    expect(pool.get('a')!.meanShareMs).toBeCloseTo(2.4, 3);
  });

  it('learns from one that goes on later, too', async () => {
    const { pool, recorder } = setUp();
    await say(recorder, [{ ...completed(4.9), kind: 'snoozed', snoozeMs: 1_000, result: undefined }]);
    expect(firstRun(pool, 20)).toBe(5);
  });

  it.each(['failed', 'cancelled'] as const)(
    'learns nothing from one that %s, nor from its company',
    async (kind) => {
      const { pool, recorder } = setUp();
      const ended: TaskReport = { ...completed(60_000), kind, error: FAILURE, result: undefined };
      await say(recorder, [completed(4.9), ended, completed(4.9)], 250);
      expect(pool.get('a')!.meanRunMs).toBeCloseTo(4.9, 1);
      expect(firstRun(pool, 40)).toBe(10);
    },
  );
});
