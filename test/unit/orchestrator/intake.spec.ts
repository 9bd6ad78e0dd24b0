import { EventEmitter } from 'node:events';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Intake } from '../../../src/orchestrator/intake.js';
import type { Acceptance, NewExecution } from '../../../src/store/execution-store.js';
import { WriteGate } from '../../../src/store/write-gate.js';
import { Ledger } from '../../../src/worker/ledger.js';

let made = 0;

function execution(fields: Partial<NewExecution> = {}): NewExecution {
  return {
    executionId: `e${++made}`,
    flowId: 'f',
    priority: 'normal',
    requiredTypes: 'log',
    request: '{}',
    requestHash: '',
    labels: {},
    timeoutMs: 1_000,
    maxAttempts: 3,
    backoff: null,
    delayMs: 0,
    expiresAt: null,
    workerId: null,
    rescueAfterMs: 1_000,
    ...fields,
  };
}

/** Lets everything run that waits for nothing but turns of the event loop. */
async function settled(): Promise<void> {
  for (let turns = 0; turns < 5; turns++) await new Promise((resolve) => setImmediate(resolve));
}

/** An intake on a leader with so many free slots, where it is always worth to wait for one. */
function setUp({ slots = 0, leads = true } = {}) {
  const pool = { slots, ledger: new Ledger() };
  const written: Pick<NewExecution, 'executionId' | 'workerId' | 'isInLine'>[] = [];
  const published: string[] = [];
  const writes: number[] = [];
  const confirms: (() => void)[] = [];
  const dispatcher = Object.assign(new EventEmitter(), {
    reserve: ({ executionId }: { executionId: string }) =>
      pool.slots-- > 0 ? pool.ledger.hold(executionId, 1, 'w', false) : null,
    isWorthWaiting: () => leads,
    takes: () => leads,
    takeInLine: () => leads,
    track: () => undefined,
  });
  const queues = {
    publishFlowExecution: ({ executionId }: { executionId: string }) =>
      new Promise((resolve) => {
        published.push(executionId);
        confirms.push(() => resolve('routed'));
      }),
  };
  const store = {
    accept: (items: NewExecution[]): Promise<Acceptance[]> => {
      writes.push(items.length);
      written.push(
        ...items.map(({ executionId, workerId, isInLine }) => ({ executionId, workerId, isInLine })),
      );
      return Promise.resolve(items.map(() => ({ kind: 'created' })));
    },
    markQueued: () => Promise.resolve(),
  };
  const workers = Object.assign(new EventEmitter(), { pool });
  const intake = new Intake(
    {} as never,
    {} as never,
    queues as never,
    store as never,
    new WriteGate(),
    dispatcher as never,
    { sendAll: () => [] } as never,
    workers as never,
  );
  const free = (event: () => boolean): void => {
    pool.slots = 1;
    event();
  };
  return { intake, pool, dispatcher, workers, written, writes, published, confirms, free };
}

describe('intake', () => {
  afterEach(() => void jest.restoreAllMocks());

  it('writes requests together that arrive one after the other, as long as each turn brings one', async () => {
    // However slow the machine is, no time passes for the gate.
    jest.spyOn(performance, 'now').mockReturnValue(0);
    const { intake, writes } = setUp({ slots: 3 });
    const answered: Promise<unknown>[] = [];
    for (let requests = 0; requests < 3; requests++) {
      answered.push(intake.submit([execution()]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(answered);
    expect(writes).toEqual([3]);
  });

  it.each(['capacity', 'spare'] as const)(
    'has what waits look for a slot when it hears of `%s`',
    async (event) => {
      const { intake, dispatcher, workers, written, free } = setUp();
      const answered = intake.submit([execution()]);
      await settled();
      expect(written).toEqual([]);
      expect(intake.waitingKinds()).toEqual([{ requiredTypes: 'log', count: 1 }]);
      free(() => (event === 'spare' ? dispatcher : workers).emit(event));
      // At once, and not only when Admission looks by itself.
      await settled();
      expect(written).toMatchObject([{ workerId: 'w' }]);
      expect(await answered).toEqual([{ kind: 'created' }]);
    },
  );

  it('lets nothing wait that is delayed, of a single attempt, or has a slot already', async () => {
    const { intake, pool, workers, written } = setUp();
    const held = execution();
    pool.ledger.hold(held.executionId, 1, 'w', false);
    const atOnce = [execution({ delayMs: 5 }), execution({ maxAttempts: 1 }), held];
    const waiting = intake.submit([execution(), execution()]);
    expect(await intake.submit(atOnce)).toHaveLength(3);
    expect(written.map(({ workerId, isInLine }) => ({ workerId, isInLine }))).toEqual([
      { workerId: null, isInLine: false },
      { workerId: null, isInLine: true },
      { workerId: null, isInLine: true },
    ]);
    expect(intake.waitingKinds()).toEqual([{ requiredTypes: 'log', count: 2 }]);
    pool.slots = 2;
    workers.emit('capacity');
    await waiting;
  });

  it('takes no slot for what has expired while it waited', async () => {
    const { intake, pool, workers, written, free } = setUp();
    const soon = Date.now() + 5;
    const [expiring, other] = [execution({ expiresAt: soon }), execution({ expiresAt: soon + 60_000 })];
    const answered = intake.submit([expiring, other]);
    await settled();
    while (Date.now() < soon) {
      await settled();
    }
    free(() => workers.emit('capacity'));
    await answered;
    expect(written).toMatchObject([
      { executionId: expiring.executionId, workerId: null, isInLine: true },
      { executionId: other.executionId, workerId: 'w' },
    ]);
    expect(pool.ledger.find(expiring.executionId)).toBeNull();
  });

  it('publishes what is for the broker as soon as it is written, and answers when the broker has confirmed', async () => {
    const { intake, dispatcher, published, confirms, workers, free } = setUp();
    dispatcher.takes = () => false;
    const [single, waiting] = [execution({ maxAttempts: 1 }), execution()];
    let isAnswered = false;
    const answered = intake.submit([single, waiting]).then(() => (isAnswered = true));
    await settled();
    // The other is not written yet.
    expect(published).toEqual([single.executionId]);
    free(() => workers.emit('capacity'));
    await settled();
    expect(isAnswered).toBe(false);
    confirms[0]!();
    await answered;
    expect(published).toEqual([single.executionId]);
  });

  it('publishes what was to wait in line with a leader that is none any more', async () => {
    const { intake, dispatcher, published, confirms } = setUp();
    dispatcher.takeInLine = () => false;
    const single = execution({ maxAttempts: 1 });
    const answered = intake.submit([single]);
    await settled();
    expect(published).toEqual([single.executionId]);
    confirms[0]!();
    await answered;
  });
});
