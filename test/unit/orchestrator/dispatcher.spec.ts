import { EventEmitter } from 'node:events';
import { describe, expect, it } from '@jest/globals';
import { Dispatcher } from '../../../src/orchestrator/dispatcher.js';
import { ReadyWindow, type WaitingTask } from '../../../src/orchestrator/ready-window.js';
import { PRIORITIES, type Priority } from '../../../src/queue/priority.js';
import { LeastBusy } from '../../../src/worker/selection/least-busy.js';
import { WorkerPool } from '../../../src/worker/worker-pool.js';
import { registration, seededRandom } from '../../support/workers.js';

const TASK = { executionId: 'new', attempt: 1, requiredTypes: 'delay', solo: false, needsSlot: false };

/** Lets everything that is ready in this turn of the event loop run. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A dispatcher of two workers of one slot each: `quick`, for `delay` and `log`, runs tasks of 2 ms; `sql` is another. */
function setUp() {
  const clock = { ms: 0 };
  const pool = new WorkerPool({
    strategy: new LeastBusy(seededRandom(1)),
    loadLimitPercent: 80,
    now: () => clock.ms,
  });
  const workersOf = { quick: ['delay', 'log'], sql: ['sql'] };
  for (const [workerId, supportedNodeTypes] of Object.entries(workersOf)) {
    const worker = registration({ workerId, slots: 1, supportedNodeTypes, takesAhead: 5 });
    pool.setLifecycle(pool.register(worker), 'ready');
  }
  for (let run = 0; run < 1_000; run++) {
    clock.ms += 2;
    pool.ran('quick', 2);
  }
  const window = (): ReadyWindow => new ReadyWindow(100, () => clock.ms);
  const windows = { high: window(), normal: window(), low: window() };
  const ready = Object.assign(new EventEmitter(), {
    windows,
    showAll: true,
    canPassOn: true,
    start: () => undefined,
    settle: () => undefined,
    moved: () => undefined,
  });
  const workers = Object.assign(new EventEmitter(), { pool });
  /** What each write of assignments waits for. */
  const writes: (() => void)[] = [];
  const store = {
    assign: (_epoch: number, held: { executionId: string }[]) =>
      new Promise((resolve) => {
        writes.push(() => resolve(new Map(held.map(({ executionId }) => [executionId, null]))));
      }),
  };
  const leadership = { mayAct: true, epoch: 1 };
  const dispatcher = new Dispatcher(
    { lowPriorityShare: 0 } as never,
    ready as never,
    workers as never,
    store as never,
    leadership as never,
    { release: () => Promise.resolve() } as never,
    { sendAll: () => [] } as never,
    { assigned: () => undefined } as never,
  );
  dispatcher.start();
  const arrive = (priority: Priority, executionId: string, requiredTypes: string): void => {
    const content = Buffer.alloc(1);
    const task: WaitingTask = {
      ...TASK,
      executionId,
      requiredTypes,
      priority,
      content,
      delivery: null,
      sinceMs: 0,
    };
    windows[priority].push(task);
  };
  return { dispatcher, pool, ready, workers, writes, leadership, arrive };
}

describe('whether it is worth to wait with the dispatcher', () => {
  const PER_S = 500;

  it('is so for as many tasks as the workers of the class end in a second, and not for a class of unknown ones', () => {
    const { dispatcher } = setUp();
    expect(dispatcher.isWorthWaiting('delay', 'normal', PER_S - 10)).toBe(true);
    expect(dispatcher.isWorthWaiting('delay', 'normal', PER_S + 10)).toBe(false);
    expect(dispatcher.isWorthWaiting('sql', 'normal', 1)).toBe(false);
  });

  it('is not so for what would see one of a lower rank go first to its workers', () => {
    const { dispatcher, arrive } = setUp();
    arrive('low', 'other', 'sql');
    arrive('normal', 'beside', 'log');
    const answers = PRIORITIES.map((priority) => dispatcher.isWorthWaiting('delay', priority, 1));
    expect(answers).toEqual([false, true, true]);
  });

  it('is not so where there may be more than can be seen, or nothing is given out', () => {
    const { dispatcher, ready, leadership } = setUp();
    ready.showAll = false;
    expect(dispatcher.isWorthWaiting('delay', 'normal', 1)).toBe(false);
    ready.showAll = true;
    leadership.mayAct = false;
    expect(dispatcher.isWorthWaiting('delay', 'normal', 1)).toBe(false);
  });
});

describe('a slot that the dispatcher has no task for', () => {
  it('is told of by the pass that left it, when nobody could take it before that pass', async () => {
    const { dispatcher, workers, pool, ready, writes, arrive } = setUp();
    let told = 0;
    dispatcher.on('spare', () => told++);
    // Two writes are under way, so that the next pass waits for one of them; and every worker has all that it may have.
    for (const executionId of ['first', 'second']) {
      arrive('normal', executionId, 'delay');
      ready.emit('arrived');
      await turn();
    }
    pool.hold('long', 1, 'sql');
    for (let ahead = 0; pool.hasRoom(); ahead++) {
      pool.hold(`ahead-${ahead}`, 1, 'quick');
    }
    expect(writes).toHaveLength(2);
    told = 0;
    pool.release('ahead-0');
    workers.emit('capacity');
    await turn();
    expect(dispatcher.reserve(TASK)).toBeNull();
    expect(told).toBe(0);

    writes[0]!();
    await turn();
    expect(told).toBe(1);
    expect(dispatcher.reserve(TASK)).toMatchObject({ executionId: 'new', workerId: 'quick' });
  });

  it('is not told of while all workers are full', async () => {
    const { dispatcher, workers, pool } = setUp();
    pool.hold('long', 1, 'sql');
    for (let ahead = 0; pool.hasRoom(); ahead++) {
      pool.hold(`ahead-${ahead}`, 1, 'quick');
    }
    let told = 0;
    dispatcher.on('spare', () => told++);
    workers.emit('capacity');
    await turn();
    expect(told).toBe(0);
  });
});
