import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { type ExecutionStore, InvalidCursorError } from '../../src/store/execution-store.js';
import { EXECUTION_STATES, type TerminalState } from '../../src/store/transitions.js';
import {
  ended,
  finished,
  heldExecutions,
  newExecution,
  postgresAdapter,
  queuedExecutions,
  recordOf,
  sqliteAdapter,
  until,
} from './store-adapters.js';

const FAILURE = { code: 'node_failed', message: 'no', retryable: true };

const letter = {
  source: 'flow.results',
  exchange: '',
  routingKey: 'flow.results',
  reason: 'expected JSON, got "\u0000\ud800"',
  messageType: null,
  executionId: null,
  headers: { 'x-death': [{ count: 1 }] },
  body: Buffer.from('not json').toString('base64'),
};

describe.each([sqliteAdapter(), postgresAdapter()])('an execution store on $name', (adapter) => {
  let store: ExecutionStore;

  beforeAll(() => adapter.begin());
  afterAll(() => adapter.end());
  beforeEach(async () => {
    store = await adapter.create();
    await store.open();
  });
  afterEach(() => store.close());

  describe('accepting', () => {
    it('records what is new and answers in the order of the items', async () => {
      const items = [newExecution({ executionId: 'b' }), newExecution({ executionId: 'a' })];
      expect(await store.accept(items)).toEqual([{ kind: 'created' }, { kind: 'created' }]);
      const record = await recordOf(store, 'b');
      expect(record).toMatchObject({
        state: 'accepted',
        attempt: 1,
        maxAttempts: 3,
        priority: 'normal',
        workerId: null,
      });
      expect(record.availableAt! - record.createdAt).toBe(60_000);
      expect(Math.abs(record.createdAt - Date.now())).toBeLessThan(60_000);
    });

    it('leaves an execution that exists alone and answers what is on record', async () => {
      const first = newExecution({ executionId: 'a', requestHash: 'one' });
      await store.accept([first]);
      await store.markQueued([{ executionId: 'a', attempt: 1 }]);
      const again = await store.accept([
        newExecution(),
        { ...first, requestHash: 'two', request: '{"other":1}' },
      ]);
      expect(again).toEqual([
        { kind: 'created' },
        { kind: 'existing', requestHash: 'one', state: 'queued', attempt: 1 },
      ]);
      expect((await recordOf(store, 'a')).request).toBe(first.request);
    });

    it('takes the first of two items with one id and answers the second with it', async () => {
      const first = newExecution({ executionId: 'a', requestHash: 'one' });
      const answers = await store.accept([
        first,
        newExecution({ executionId: 'b' }),
        { ...first, requestHash: 'two' },
      ]);
      expect(answers).toEqual([
        { kind: 'created' },
        { kind: 'created' },
        { kind: 'existing', requestHash: 'one', state: 'accepted', attempt: 1 },
      ]);
    });

    it('inserts an execution of the fast path as assigned, queued and assigned at one instant', async () => {
      await store.accept([newExecution({ executionId: 'a', workerId: 'worker-1' })]);
      const record = await recordOf(store, 'a');
      expect(record).toMatchObject({ state: 'assigned', workerId: 'worker-1', availableAt: null });
      expect([record.queuedAt, record.assignedAt]).toEqual([record.createdAt, record.createdAt]);
    });

    it('inserts one that waits with the leader as queued, and due should the leader be lost', async () => {
      const items = [
        newExecution({ executionId: 'a', isInLine: true }),
        newExecution({ executionId: 'a', isInLine: true }),
      ];
      expect(await store.accept(items)).toMatchObject([
        { kind: 'created' },
        { kind: 'existing', state: 'queued' },
      ]);
      const record = await recordOf(store, 'a');
      expect(record).toMatchObject({ state: 'queued', workerId: null, assignedAt: null });
      expect(record.queuedAt).toBe(record.createdAt);
      expect(record.availableAt! - record.createdAt).toBe(60_000);
      const { epoch } = await store.acquireLease('me', 60_000);
      const task = { executionId: 'a', attempt: 1, workerId: 'worker-1' };
      expect(await store.assign(epoch, [task])).toEqual(new Map([['a', null]]));
      expect(await recordOf(store, 'a')).toMatchObject({ state: 'assigned', availableAt: null });
    });

    it('makes a delayed execution due when its delay is over', async () => {
      await store.accept([newExecution({ executionId: 'a', delayMs: 5_000 })]);
      const record = await recordOf(store, 'a');
      expect(record.availableAt! - record.createdAt).toBe(5_000);
    });

    it('gives every value back as it came: NUL, emoji, lone surrogates, quotes', async () => {
      const nasty = 'NUL \u0000, emoji 🦄, lone \ud800 and \udc00, "quoted" \\u0000 \\';
      const [item] = [
        newExecution({
          request: JSON.stringify({ inputs: { nasty, [nasty]: 1 } }),
          labels: { [nasty]: nasty, plain: 'x' },
          backoff: { baseMs: 5, factor: 1.5 },
          workerId: 'worker-1',
        }),
      ];
      await store.accept([item!]);
      const error = { code: 'node_failed', message: nasty, retryable: false, details: { nasty } };
      const timeline = [
        { nodeId: 'n', type: 't', state: 'failed' as const, tries: 1, finishedAt: 'now', error },
      ];
      const task = { executionId: item!.executionId, attempt: 1, workerId: 'worker-1' };
      // Raw in the text, as a careless encoder would write it, rather than escaped.
      const result = '{"raw":"\ud83d lone, 🦄 paired"}';
      await store.finish([finished(task, { state: 'failed', error, timeline, result, durationMs: 12.5 })]);
      const record = await recordOf(store, item!.executionId);
      expect(record).toMatchObject({ request: item!.request, labels: item!.labels, backoff: item!.backoff });
      expect(record).toMatchObject({ error, timeline, durationMs: 12.5 });
      expect(JSON.parse(record.result!)).toEqual(JSON.parse(result));
      const found = await store.list({ labels: { [nasty]: nasty } }, 10);
      expect(found.items.map((summary) => summary.executionId)).toEqual([item!.executionId]);
    });

    it('answers with an end the whole record of those that are asked for', async () => {
      const items = Array.from({ length: 3 }, () =>
        newExecution({ labels: { a: 'b' }, workerId: 'worker-1' }),
      );
      await store.accept(items);
      const [one, two, three] = items.map(({ executionId }) => ({
        executionId,
        attempt: 1,
        workerId: 'worker-1',
      }));
      const stale = { ...three!, attempt: 2 };
      const wanted = new Set([one!.executionId, three!.executionId]);
      const recorded = await store.finish(
        [one!, two!, stale].map((task) => finished(task)),
        wanted,
      );
      expect([...recorded.keys()].toSorted()).toEqual([one!.executionId, two!.executionId].toSorted());
      expect(recorded.get(one!.executionId)).toEqual(await recordOf(store, one!.executionId));
      expect(recorded.get(two!.executionId)).toBeNull();
    });

    it('takes 1,000 items in a batch through all their states', async () => {
      const items = Array.from({ length: 1_000 }, () => newExecution({ labels: { batch: 'big' } }));
      expect(await store.accept(items)).toEqual(items.map(() => ({ kind: 'created' })));
      const { epoch } = await store.acquireLease('me', 60_000);
      const tasks = items.map(({ executionId }) => ({ executionId, attempt: 1, workerId: 'worker-1' }));
      await store.markQueued(tasks);
      expect((await store.assign(epoch, tasks)).size).toBe(1_000);
      await store.markRunning(tasks);
      expect(await store.held()).toHaveLength(1_000);
      expect((await store.finish(tasks.map((task) => finished(task)))).size).toBe(1_000);
      expect(await store.ended(tasks.map(({ executionId }) => executionId))).toHaveLength(1_000);
    });

    it.each([1, 2, 3, 33, 512, 513])(
      'takes of batches of %i rows those that may be taken, each as a whole, and answers which',
      async (size) => {
        const { epoch } = await store.acquireLease('me', 60_000);
        const items = Array.from({ length: size }, (_, index) =>
          newExecution({ labels: index === 1 ? { a: 'b' } : {} }),
        ).toReversed();
        const early = items.filter((_, index) => index % 3 === 0);
        await store.accept(early);
        expect(await store.accept([...items, ...items.map((item) => ({ ...item }))])).toEqual([
          ...items.map((item) =>
            early.includes(item) ? expect.objectContaining({ kind: 'existing' }) : { kind: 'created' },
          ),
          ...items.map(() => expect.objectContaining({ kind: 'existing', state: 'accepted', attempt: 1 })),
        ]);
        await store.cancel(items[0]!.executionId, 'no');

        const tasks = items.map(({ executionId }) => ({ executionId, attempt: 1, workerId: 'worker-1' }));
        const [, ...open] = tasks;
        const expected = new Map(open.map(({ executionId }) => [executionId, null]));
        expect(await store.assign(epoch + 1, tasks)).toEqual(new Map());
        expect(await store.assign(epoch, [...tasks, ...tasks])).toEqual(expected);
        await store.markRunning(tasks);
        expect(await store.held()).toHaveLength(open.length);
        expect(await store.finish([...tasks, ...tasks].map((task) => finished(task)))).toEqual(expected);
        expect(await store.finish(tasks.map((task) => finished(task)))).toEqual(new Map());
        const records = await store.ended(tasks.map(({ executionId }) => executionId));
        expect(records.filter(({ state }) => state === 'completed')).toHaveLength(open.length);
        expect((await store.list({ labels: { a: 'b' } }, 10)).items).toHaveLength(size > 1 ? 1 : 0);
      },
    );

    it('takes large texts as well, of a batch in part', async () => {
      const { epoch } = await store.acquireLease('me', 60_000);
      const request = JSON.stringify({ flowData: {}, inputs: { text: 'ö"'.repeat(300_000) } });
      const items = Array.from({ length: 3 }, () => newExecution({ request }));
      await store.accept(items.slice(0, 1));
      expect((await store.accept(items)).map(({ kind }) => kind)).toEqual(['existing', 'created', 'created']);
      const tasks = items.map(({ executionId }) => ({ executionId, attempt: 1, workerId: 'worker-1' }));
      await store.assign(epoch, tasks.slice(1));
      const result = JSON.stringify({ text: 'ß\\'.repeat(300_000) });
      const ends = await store.finish(tasks.map((task) => finished(task, { result })));
      expect([...ends.keys()].toSorted()).toEqual(
        tasks
          .slice(1)
          .map(({ executionId }) => executionId)
          .toSorted(),
      );
      expect(await store.get(tasks[2]!.executionId)).toMatchObject({ request, result });
    });

    it('answers batches that are written at the same time each for itself', async () => {
      const { epoch } = await store.acquireLease('me', 60_000);
      const [a, b, c, d] = await queuedExecutions(store, 4);
      const held = [a!, b!, c!, d!].map((task) => ({ ...task, workerId: 'worker-1' }));
      const fresh = newExecution({ executionId: 'fresh' });
      const stale = { ...held[3]!, attempt: 2 };
      await store.assign(epoch, held.slice(0, 1));
      const [ends, answers, assigned, none] = await Promise.all([
        store.finish(held.slice(0, 2).map((task) => finished(task))),
        store.accept([fresh, newExecution({ executionId: c!.executionId })]),
        store.assign(epoch, [held[2]!, stale]),
        store.assign(epoch + 1, held.slice(2)),
        store.markQueued([{ executionId: 'fresh', attempt: 1 }]),
      ]);
      expect([...ends.keys()]).toEqual([a!.executionId]);
      expect(answers.map(({ kind }) => kind)).toEqual(['created', 'existing']);
      expect([...assigned.keys()]).toEqual([c!.executionId]);
      expect(none.size).toBe(0);
      const states = await Promise.all(
        held.map(async ({ executionId }) => (await recordOf(store, executionId)).state),
      );
      expect(states).toEqual(['completed', 'queued', 'assigned', 'queued']);
    });

    it('does much at the same time, with and without transactions, each as a whole', async () => {
      const labelled = Array.from({ length: 30 }, () => newExecution({ labels: { at: 'once' } }));
      const plain = Array.from({ length: 30 }, () => newExecution());
      const both = labelled.flatMap((item, index) => [item, plain[index]!]);
      const accepted = await Promise.all(both.map((item) => store.accept([item])));
      expect(accepted.flat()).toEqual(both.map(() => ({ kind: 'created' })));
      const cancelled = await Promise.all(both.map(({ executionId }) => store.cancel(executionId, 'why')));
      expect(cancelled).toEqual(both.map(() => ({ kind: 'cancelled' })));
      expect((await store.list({ labels: { at: 'once' } }, 100)).items).toHaveLength(30);
    });

    it('does nothing for empty batches', async () => {
      expect(await store.accept([])).toEqual([]);
      await store.markQueued([]);
      await store.addDeadLetters([]);
      expect(await store.finish([])).toEqual(new Map());
      expect(await store.retryLater([])).toEqual(new Set());
      expect(await store.replay([])).toEqual(new Set());
      expect(await store.ended([])).toEqual([]);
      expect(await store.unpark([], 10)).toBe(0);
      await store.postpone([], 0);
    });
  });

  describe('queueing and assigning', () => {
    it('queues what the broker confirmed and takes it off the due ones', async () => {
      const [task] = await queuedExecutions(store, 1);
      const record = await recordOf(store, task!.executionId);
      expect(record).toMatchObject({ state: 'queued', availableAt: null });
      expect(record.queuedAt).toBeGreaterThanOrEqual(record.createdAt);
    });

    it('leaves executions with another attempt or with a worker alone when a late confirm comes', async () => {
      const [held] = await heldExecutions(store, 1);
      const other = newExecution();
      await store.accept([other]);
      await store.markQueued([held!, { executionId: other.executionId, attempt: 2 }]);
      expect((await recordOf(store, held!.executionId)).state).toBe('assigned');
      expect((await recordOf(store, other.executionId)).state).toBe('accepted');
    });

    it('assigns waiting executions of the right attempt and answers which', async () => {
      const { epoch } = await store.acquireLease('me', 60_000);
      const [queued, stale] = await queuedExecutions(store, 2);
      const fresh = newExecution();
      await store.accept([fresh]);
      const assignments = [
        { ...queued!, workerId: 'worker-1' },
        { executionId: stale!.executionId, attempt: 2, workerId: 'worker-1' },
        { executionId: fresh.executionId, attempt: 1, workerId: 'worker-2' },
        { executionId: 'unknown', attempt: 1, workerId: 'worker-2' },
      ];
      const wanted = new Set([fresh.executionId, stale!.executionId, 'unknown']);
      const { flowId, maxAttempts, timeoutMs, request } = fresh;
      expect(await store.assign(epoch, assignments, wanted)).toEqual(
        new Map([
          [queued!.executionId, null],
          [fresh.executionId, { flowId, maxAttempts, timeoutMs, request }],
        ]),
      );
      const record = await recordOf(store, fresh.executionId);
      expect(record).toMatchObject({ state: 'assigned', workerId: 'worker-2', availableAt: null });
      expect(record.queuedAt).toBe(record.assignedAt);
    });

    it('assigns an execution once', async () => {
      const { epoch } = await store.acquireLease('me', 60_000);
      const [task] = await queuedExecutions(store, 1);
      expect((await store.assign(epoch, [{ ...task!, workerId: 'worker-1' }])).size).toBe(1);
      expect((await store.assign(epoch, [{ ...task!, workerId: 'worker-2' }])).size).toBe(0);
      expect((await recordOf(store, task!.executionId)).workerId).toBe('worker-1');
    });

    it('writes nothing for an epoch that is not the current one', async () => {
      const [task] = await queuedExecutions(store, 1);
      const assignment = { ...task!, workerId: 'worker-1' };
      expect((await store.assign(1, [assignment])).size).toBe(0);
      const { epoch } = await store.acquireLease('me', 60_000);
      expect((await store.assign(epoch + 1, [assignment])).size).toBe(0);
      await store.releaseLease('me');
      const next = await store.acquireLease('other', 60_000);
      expect((await store.assign(epoch, [assignment])).size).toBe(0);
      expect((await store.assign(next.epoch, [assignment])).size).toBe(1);
    });

    it('does not assign what is cancelled or expired', async () => {
      const { epoch } = await store.acquireLease('me', 60_000);
      const [cancelled] = await queuedExecutions(store, 1);
      const [expired] = await queuedExecutions(store, 1, { expiresAt: 1 });
      await store.cancel(cancelled!.executionId, 'no');
      const both = [cancelled!, expired!].map((task) => ({ ...task, workerId: 'worker-1' }));
      expect((await store.assign(epoch, both)).size).toBe(0);
    });

    it('assigns a retry whose wait is over even before its confirm is recorded, but not one that still waits', async () => {
      const { epoch } = await store.acquireLease('me', 60_000);
      const [over, waiting] = await heldExecutions(store, 2);
      await store.retryLater([
        { ...ended(over!), delayMs: 0 },
        { ...ended(waiting!), delayMs: 60_000 },
      ]);
      const again = [over!, waiting!].map((task) => ({ ...task, attempt: 2 }));
      expect(await store.assign(epoch, again)).toEqual(new Map([[over!.executionId, null]]));
    });

    it('marks as running only what that worker holds at that attempt', async () => {
      const [a, b, c] = await heldExecutions(store, 3);
      await store.markRunning([a!, { ...b!, workerId: 'worker-2' }, { ...c!, attempt: 2 }]);
      expect(await recordOf(store, a!.executionId)).toMatchObject({
        state: 'running',
        startedAt: expect.any(Number),
      });
      expect((await recordOf(store, b!.executionId)).state).toBe('assigned');
      expect((await recordOf(store, c!.executionId)).state).toBe('assigned');
    });
  });

  describe('ending', () => {
    it.each<TerminalState>(['completed', 'failed', 'cancelled', 'dead'])(
      'records %s, whether it had started or not',
      async (state) => {
        const [assigned, running] = await heldExecutions(store, 2);
        await store.markRunning([running!]);
        const error = state === 'completed' ? null : FAILURE;
        const ends = [assigned!, running!].map((task) => finished(task, { state, error, result: null }));
        expect((await store.finish(ends)).size).toBe(2);
        const record = await recordOf(store, running!.executionId);
        expect(record).toMatchObject({
          state,
          error,
          finishedAt: expect.any(Number),
          availableAt: null,
          workerId: 'worker-1',
        });
      },
    );

    it('records an end once, and not that of a stale attempt or another worker', async () => {
      const [task] = await heldExecutions(store, 1);
      expect((await store.finish([finished({ ...task!, attempt: 2 })])).size).toBe(0);
      expect((await store.finish([finished({ ...task!, workerId: 'worker-2' })])).size).toBe(0);
      expect(
        (await store.finish([finished(task!, { result: '{"n":1}' }), finished(task!, { result: '{"n":2}' })]))
          .size,
      ).toBe(1);
      expect((await store.finish([finished(task!, { result: '{"n":3}' })])).size).toBe(0);
      expect((await recordOf(store, task!.executionId)).result).toBe('{"n":1}');
    });

    it('does not end what no worker holds', async () => {
      const [task] = await queuedExecutions(store, 1);
      expect((await store.finish([finished({ ...task!, workerId: 'worker-1' })])).size).toBe(0);
    });

    it('retries later: the ended attempt is kept, the next one is due after the delay', async () => {
      const [task] = await heldExecutions(store, 1);
      await store.markRunning([task!]);
      expect(await store.retryLater([{ ...ended(task!, { error: FAILURE }), delayMs: 5_000 }])).toEqual(
        new Set([task!.executionId]),
      );
      const record = await recordOf(store, task!.executionId);
      expect(record).toMatchObject({
        state: 'retrying',
        attempt: 2,
        workerId: null,
        queuedAt: null,
        assignedAt: null,
        startedAt: null,
      });
      const [past] = record.pastAttempts;
      expect(past).toEqual({
        attempt: 1,
        workerId: 'worker-1',
        outcome: 'failed',
        error: FAILURE,
        queuedAt: record.createdAt,
        assignedAt: record.createdAt,
        startedAt: expect.any(Number),
        finishedAt: record.availableAt! - 5_000,
      });
    });

    it('keeps the number of an attempt that does not count', async () => {
      const [task] = await heldExecutions(store, 1);
      await store.requeue([ended(task!, { countAttempt: false, outcome: 'handed_back' })]);
      const record = await recordOf(store, task!.executionId);
      expect(record).toMatchObject({ state: 'queued', attempt: 1, workerId: null });
      expect(record.availableAt).toBe(record.queuedAt);
      expect(record.pastAttempts).toMatchObject([{ attempt: 1, outcome: 'handed_back', startedAt: null }]);
    });

    it('appends one past attempt after another', async () => {
      const { epoch } = await store.acquireLease('me', 60_000);
      const [task] = await heldExecutions(store, 1);
      await store.requeue([ended(task!, { outcome: 'worker_lost' })]);
      await store.assign(epoch, [{ ...task!, attempt: 2, workerId: 'worker-2' }]);
      await store.retryLater([{ ...ended({ ...task!, attempt: 2, workerId: 'worker-2' }), delayMs: 0 }]);
      expect((await recordOf(store, task!.executionId)).pastAttempts).toMatchObject([
        { attempt: 1, workerId: 'worker-1', outcome: 'worker_lost' },
        { attempt: 2, workerId: 'worker-2', outcome: 'failed' },
      ]);
    });

    it('neither retries nor requeues for a stale attempt or another worker', async () => {
      const [task] = await heldExecutions(store, 1);
      const stale = [ended({ ...task!, attempt: 2 }), ended({ ...task!, workerId: 'worker-2' })];
      expect((await store.retryLater(stale.map((end) => ({ ...end, delayMs: 0 })))).size).toBe(0);
      expect((await store.requeue(stale)).size).toBe(0);
      expect((await recordOf(store, task!.executionId)).state).toBe('assigned');
    });
  });

  describe('cancelling', () => {
    it('ends a waiting execution with one write', async () => {
      const accepted = newExecution();
      await store.accept([accepted]);
      const [queued] = await queuedExecutions(store, 1);
      const [held] = await heldExecutions(store, 1);
      await store.retryLater([{ ...ended(held!), delayMs: 60_000 }]);
      for (const { executionId } of [accepted, queued!, held!]) {
        expect(await store.cancel(executionId, 'no longer needed')).toEqual({ kind: 'cancelled' });
        expect(await recordOf(store, executionId)).toMatchObject({
          state: 'cancelled',
          availableAt: null,
          finishedAt: expect.any(Number),
          error: { code: 'cancelled', message: 'no longer needed', retryable: false },
        });
      }
      expect(await store.due(10, [])).toEqual({ tasks: [], nextInMs: null });
    });

    it('notes the wish for one with a worker, and a completion that comes first still counts', async () => {
      const [assigned, running] = await heldExecutions(store, 2);
      await store.markRunning([running!]);
      for (const task of [assigned!, running!]) {
        expect(await store.cancel(task.executionId, 'x')).toEqual({
          kind: 'requested',
          workerId: 'worker-1',
          attempt: 1,
        });
      }
      const first = (await recordOf(store, running!.executionId)).cancelRequestedAt;
      await store.cancel(running!.executionId, 'again');
      expect((await recordOf(store, running!.executionId)).cancelRequestedAt).toBe(first);
      expect((await store.held()).every(({ cancelRequested }) => cancelRequested)).toBe(true);
      await store.finish([finished(running!), finished(assigned!, { state: 'cancelled', result: null })]);
      expect((await recordOf(store, running!.executionId)).state).toBe('completed');
      expect(await recordOf(store, assigned!.executionId)).toMatchObject({
        state: 'cancelled',
        error: { code: 'cancelled', message: 'x' },
      });
    });

    it('gives no further attempt to an execution whose cancel was asked for', async () => {
      const [retried, lost] = await heldExecutions(store, 2);
      await store.cancel(retried!.executionId, 'x');
      await store.cancel(lost!.executionId, 'x');
      expect((await store.retryLater([{ ...ended(retried!), delayMs: 0 }])).size).toBe(0);
      expect((await store.requeue([ended(lost!)])).size).toBe(0);
      for (const { executionId } of [retried!, lost!]) {
        expect(await recordOf(store, executionId)).toMatchObject({
          state: 'cancelled',
          attempt: 1,
          error: { message: 'x' },
        });
      }
    });

    it('answers what has ended and what does not exist', async () => {
      const [task] = await heldExecutions(store, 1);
      await store.finish([finished(task!)]);
      expect(await store.cancel(task!.executionId, 'x')).toEqual({ kind: 'ended', state: 'completed' });
      expect(await store.cancel('unknown', 'x')).toBeNull();
    });

    it('expires waiting executions only, and no more than asked for', async () => {
      const past = { expiresAt: 1 };
      await queuedExecutions(store, 3, past);
      const [held] = await heldExecutions(store, 1, past);
      await queuedExecutions(store, 1, { expiresAt: Date.now() + 600_000 });
      const ids = [...(await store.expire(2)), ...(await store.expire(2))];
      expect(new Set(ids).size).toBe(3);
      expect(ids).not.toContain(held!.executionId);
      expect(await recordOf(store, ids[0]!)).toMatchObject({
        state: 'cancelled',
        error: { code: 'expired', retryable: false },
      });
    });
  });

  describe('replaying', () => {
    it.each<TerminalState>(['dead', 'failed', 'cancelled'])(
      'starts a new series of attempts for a %s execution',
      async (state) => {
        const [task] = await heldExecutions(store, 1);
        await store.finish([finished(task!, { state, error: FAILURE, result: null, timeline: [] })]);
        expect(await store.replay([task!.executionId, 'unknown'])).toEqual(new Set([task!.executionId]));
        const record = await recordOf(store, task!.executionId);
        expect(record).toMatchObject({
          state: 'queued',
          attempt: 2,
          maxAttempts: 6,
          workerId: null,
          result: null,
          error: null,
        });
        expect(record).toMatchObject({
          timeline: null,
          finishedAt: null,
          durationMs: null,
          cancelRequestedAt: null,
        });
        expect(record.pastAttempts).toMatchObject([
          { attempt: 1, outcome: state, error: FAILURE, workerId: 'worker-1' },
        ]);
        expect((await store.due(10, [])).tasks).toMatchObject([
          {
            executionId: task!.executionId,
            attempt: 2,
            maxAttempts: 6,
            pastAttempts: [{ attempt: 1, outcome: state, error: FAILURE }],
          },
        ]);
      },
    );

    it('raises the attempts by the number of the first series each time', async () => {
      const { epoch } = await store.acquireLease('me', 60_000);
      const [task] = await heldExecutions(store, 1, { maxAttempts: 2 });
      for (const attempt of [1, 2]) {
        await store.assign(epoch, [{ ...task!, attempt }]);
        await store.finish([
          finished({ ...task!, attempt }, { state: 'dead', error: FAILURE, result: null }),
        ]);
        await store.replay([task!.executionId]);
      }
      const record = await recordOf(store, task!.executionId);
      expect(record).toMatchObject({ attempt: 3, maxAttempts: 6 });
      expect(record.pastAttempts.map(({ attempt }) => attempt)).toEqual([1, 2]);
    });

    it('leaves any other state alone', async () => {
      const [completed, held] = await heldExecutions(store, 2);
      const [queued] = await queuedExecutions(store, 1);
      await store.finish([finished(completed!)]);
      expect(
        (await store.replay([completed!, held!, queued!].map(({ executionId }) => executionId))).size,
      ).toBe(0);
    });

    it('can be cancelled before any attempt and replayed after it has expired', async () => {
      const [task] = await queuedExecutions(store, 1, { expiresAt: 1 });
      await store.expire(10);
      await store.replay([task!.executionId]);
      const record = await recordOf(store, task!.executionId);
      expect(record).toMatchObject({ state: 'queued', expiresAt: null, attempt: 2 });
      expect(record.pastAttempts).toMatchObject([
        { workerId: null, outcome: 'cancelled', error: { code: 'expired' } },
      ]);
    });
  });

  describe('what is due', () => {
    it('answers what came due first first, and tells when the next one comes', async () => {
      const first = newExecution({ delayMs: 1 });
      const second = newExecution({ delayMs: 40 });
      const later = newExecution({ delayMs: 60_000 });
      await store.accept([later, second, first]);
      const { tasks, nextInMs } = await until(
        () => store.due(10, []),
        (answer) => answer.tasks.length === 2,
      );
      expect(tasks.map(({ executionId }) => executionId)).toEqual([first.executionId, second.executionId]);
      expect(tasks[0]).toEqual({
        executionId: first.executionId,
        attempt: 1,
        flowId: 'flow',
        priority: 'normal',
        requiredTypes: first.requiredTypes,
        request: first.request,
        timeoutMs: 30_000,
        maxAttempts: 3,
        pastAttempts: [],
      });
      expect(nextInMs).toBeGreaterThan(0);
      expect(nextInMs).toBeLessThanOrEqual(60_000);
    });

    it('says that more is due at once when the limit is reached, and looks past the excepted', async () => {
      const items = [
        newExecution({ delayMs: 1 }),
        newExecution({ delayMs: 1 }),
        newExecution({ delayMs: 1 }),
      ];
      await store.accept(items);
      await until(
        () => store.due(10, []),
        ({ tasks }) => tasks.length === 3,
      );
      const some = await store.due(2, []);
      expect([some.tasks.length, some.nextInMs]).toEqual([2, 0]);
      const except = items.slice(0, 2).map(({ executionId }) => executionId);
      const rest = await store.due(2, except);
      expect(rest.tasks.map(({ executionId }) => executionId)).toEqual([items[2]!.executionId]);
      expect(rest.nextInMs).toBeNull();
    });

    it('rescues an accepted execution that nobody reported as published', async () => {
      await store.accept([newExecution({ executionId: 'lost', rescueAfterMs: 1 })]);
      const { tasks } = await until(
        () => store.due(10, []),
        (answer) => answer.tasks.length > 0,
      );
      expect(tasks.map(({ executionId }) => executionId)).toEqual(['lost']);
      await store.markQueued([{ executionId: 'lost', attempt: 1 }]);
      expect(await store.due(10, [])).toEqual({ tasks: [], nextInMs: null });
    });

    it('clears the due time of a requeued execution once its task is published again', async () => {
      const [task] = await heldExecutions(store, 1);
      await store.requeue([ended(task!)]);
      await store.markQueued([{ executionId: task!.executionId, attempt: 2 }]);
      expect(await recordOf(store, task!.executionId)).toMatchObject({
        state: 'queued',
        availableAt: null,
        attempt: 2,
      });
    });

    it('puts off what is queued and due, and makes it due at once', async () => {
      const inLine = newExecution({ isInLine: true, rescueAfterMs: 1 });
      await store.accept([inLine]);
      const { executionId } = inLine;
      const due = async (): Promise<number> => (await store.due(10, [])).tasks.length;
      await until(due, (count) => count === 1);
      await store.postpone([{ executionId, attempt: 1 }], 60_000);
      expect(await due()).toBe(0);
      const { nextInMs } = await store.due(10, []);
      expect(nextInMs).toBeGreaterThan(50_000);
      expect(nextInMs).toBeLessThanOrEqual(60_000);
      await store.postpone(
        [
          { executionId, attempt: 2 },
          { executionId: 'no-such', attempt: 1 },
        ],
        0,
      );
      expect(await due()).toBe(0);
      await store.postpone([{ executionId, attempt: 1 }], 0);
      expect(await due()).toBe(1);
      expect(await recordOf(store, executionId)).toMatchObject({ state: 'queued', attempt: 1 });
    });

    it('puts off nothing that waits on the broker, for its time, with a worker, parked or not at all', async () => {
      const [queued, parked] = await queuedExecutions(store, 2);
      await store.park([parked!], 'pool_full');
      const [held, retried, over] = await heldExecutions(store, 3);
      await store.retryLater([{ ...ended(retried!), delayMs: 30_000 }]);
      await store.finish([finished(over!)]);
      const accepted = newExecution();
      await store.accept([accepted]);
      const ids = [queued!, parked!, held!, retried!, over!, accepted].map(({ executionId }) => executionId);
      const before = await Promise.all(ids.map((id) => recordOf(store, id)));
      await store.postpone(
        before.map(({ executionId, attempt }) => ({ executionId, attempt })),
        0,
      );
      expect(await Promise.all(ids.map((id) => recordOf(store, id)))).toEqual(before);
    });

    it('makes due again what should be in the broker and is not', async () => {
      const [missing, known] = await queuedExecutions(store, 2);
      const [parked] = await queuedExecutions(store, 1);
      await store.park([parked!], 'pool_full');
      expect(await store.requeueMissing(60_000, [])).toBe(0);
      await until(
        () => store.requeueMissing(0, [known!.executionId]),
        (count) => count === 1,
      );
      const { tasks } = await store.due(10, []);
      expect(tasks.map(({ executionId }) => executionId)).toEqual([missing!.executionId]);
      expect(await store.requeueMissing(0, [known!.executionId])).toBe(0);
    });
  });

  describe('parking', () => {
    it('takes waiting executions aside until they are unparked, highest priority and oldest first', async () => {
      const [low] = await queuedExecutions(store, 1, { priority: 'low' });
      const [normal] = await queuedExecutions(store, 1);
      const [high] = await queuedExecutions(store, 1, { priority: 'high' });
      const [other] = await queuedExecutions(store, 1, { requiredTypes: 'x'.repeat(500), priority: 'high' });
      const tasks = [low!, normal!, high!];
      expect((await store.park(tasks, 'no_capable_worker')).size).toBe(3);
      await store.park([other!], 'pool_full');
      expect(await recordOf(store, low!.executionId)).toMatchObject({
        state: 'queued',
        parkedReason: 'no_capable_worker',
        availableAt: null,
      });
      expect(await store.parkedClasses()).toEqual([
        { requiredTypes: 'data-filter,http-request', reason: 'no_capable_worker', count: 3 },
        { requiredTypes: 'x'.repeat(500), reason: 'pool_full', count: 1 },
      ]);
      expect(await store.unpark(['data-filter,http-request', 'nobody'], 2)).toBe(2);
      const due = await store.due(10, []);
      expect(new Set(due.tasks.map(({ executionId }) => executionId))).toEqual(
        new Set([high!.executionId, normal!.executionId]),
      );
      expect((await recordOf(store, high!.executionId)).parkedReason).toBeNull();
      expect(await store.unpark(['data-filter,http-request', 'x'.repeat(500)], 10)).toBe(2);
      expect(await store.parkedClasses()).toEqual([]);
    });

    it('parks no stale attempt and nothing with a worker; assigning and cancelling end it', async () => {
      const { epoch } = await store.acquireLease('me', 60_000);
      const [a, b] = await queuedExecutions(store, 2);
      const [held] = await heldExecutions(store, 1);
      expect((await store.park([{ ...a!, attempt: 2 }, held!], 'pool_full')).size).toBe(0);
      await store.park([a!, b!], 'pool_full');
      await store.assign(epoch, [{ ...a!, workerId: 'worker-1' }]);
      await store.cancel(b!.executionId, 'x');
      expect((await recordOf(store, a!.executionId)).parkedReason).toBeNull();
      expect(await store.parkedClasses()).toEqual([]);
    });

    it('is not undone by the late confirm of the task that was parked', async () => {
      const item = newExecution();
      await store.accept([item]);
      const task = { executionId: item.executionId, attempt: 1 };
      expect((await store.park([task], 'pool_full')).size).toBe(1);
      await store.markQueued([task]);
      expect(await recordOf(store, item.executionId)).toMatchObject({
        state: 'queued',
        parkedReason: 'pool_full',
      });
    });
  });

  describe('reading', () => {
    it('answers what workers hold, by the record', async () => {
      const [assigned, running] = await heldExecutions(store, 2);
      await store.markRunning([running!]);
      await queuedExecutions(store, 1);
      const held = (await store.held()).toSorted((a, b) => a.executionId.localeCompare(b.executionId));
      expect(held).toEqual([
        {
          ...assigned!,
          state: 'assigned',
          maxAttempts: 3,
          pastAttempts: [],
          requiredTypes: 'data-filter,http-request',
          cancelRequested: false,
          assignedAt: expect.any(Number),
        },
        {
          ...running!,
          state: 'running',
          maxAttempts: 3,
          pastAttempts: [],
          requiredTypes: 'data-filter,http-request',
          cancelRequested: false,
          assignedAt: expect.any(Number),
        },
      ]);
    });

    it('answers those that have ended, and null for an unknown one', async () => {
      const [done, open] = await heldExecutions(store, 2);
      await store.finish([finished(done!)]);
      const found = await store.ended([open!.executionId, done!.executionId, 'unknown']);
      expect(found.map(({ executionId }) => executionId)).toEqual([done!.executionId]);
      expect(await store.get('unknown')).toBeNull();
    });

    it('pages newest first through executions of the same instant, each once', async () => {
      const items = Array.from({ length: 25 }, () => newExecution());
      await store.accept(items.slice(0, 20));
      await store.accept(items.slice(20));
      const seen: string[] = [];
      const times: number[] = [];
      for (let cursor: string | null | undefined; cursor !== null;) {
        const page = await store.list({}, 7, cursor);
        seen.push(...page.items.map(({ executionId }) => executionId));
        times.push(...page.items.map(({ createdAt }) => createdAt));
        cursor = page.nextCursor;
      }
      expect(new Set(times).size).toBeLessThan(25);
      expect(times).toEqual(times.toSorted((a, b) => b - a));
      expect(seen.toSorted()).toEqual(items.map(({ executionId }) => executionId).toSorted());
    });

    it('refuses a cursor that is not one of its own', async () => {
      for (const cursor of [
        '',
        'nonsense',
        Buffer.from('[1]').toString('base64url'),
        Buffer.from('{}').toString('base64url'),
      ]) {
        await expect(store.list({}, 10, cursor)).rejects.toThrow(InvalidCursorError);
      }
      await expect(store.listDeadLetters(10, 'nonsense')).rejects.toThrow(InvalidCursorError);
    });

    it('filters by state, flow, worker, priority, labels and time, alone and together', async () => {
      const [a] = await heldExecutions(store, 1, {
        flowId: 'one',
        priority: 'high',
        labels: { env: 'prod', team: 'x' },
      });
      const [b] = await heldExecutions(store, 1, {
        flowId: 'two',
        labels: { env: 'prod' },
        workerId: 'worker-2',
      });
      const [c] = await queuedExecutions(store, 1, { flowId: 'one', labels: { env: 'test' } });
      await store.finish([finished(a!, { state: 'failed', error: FAILURE })]);
      const { createdAt } = await recordOf(store, c!.executionId);
      const cases: [Parameters<ExecutionStore['list']>[0], (string | undefined)[]][] = [
        [{}, [a!.executionId, b!.executionId, c!.executionId]],
        [{ states: ['failed'] }, [a!.executionId]],
        [{ states: ['failed', 'queued'] }, [a!.executionId, c!.executionId]],
        [{ states: [] }, []],
        [{ states: ['failed', 'failed'] }, [a!.executionId]],
        [{ flowId: 'one' }, [a!.executionId, c!.executionId]],
        [{ flowId: 'one', states: ['queued'] }, [c!.executionId]],
        [{ flowId: 'one', priority: 'normal' }, [c!.executionId]],
        [{ workerId: 'worker-2' }, [b!.executionId]],
        [{ workerId: 'worker-1', flowId: 'two' }, []],
        [{ priority: 'high' }, [a!.executionId]],
        [{ labels: { env: 'prod' } }, [a!.executionId, b!.executionId]],
        [{ labels: { env: 'prod', team: 'x' } }, [a!.executionId]],
        [
          { labels: { env: 'prod' }, flowId: 'two', states: ['assigned'], priority: 'normal' },
          [b!.executionId],
        ],
        [{ labels: { env: 'prod' }, priority: 'low' }, []],
        [{ labels: { team: 'prod' } }, []],
        [{ createdAfter: createdAt + 1 }, []],
        [{ createdBefore: createdAt + 1, flowId: 'two' }, [b!.executionId]],
        [{ createdBefore: 1, labels: { env: 'prod' } }, []],
        [{ createdAfter: 1, createdBefore: createdAt + 1, labels: { env: 'test' } }, [c!.executionId]],
      ];
      for (const [filter, expected] of cases) {
        const { items } = await store.list(filter, 10);
        expect({ filter, ids: items.map(({ executionId }) => executionId).toSorted() }).toEqual({
          filter,
          ids: expected.toSorted(),
        });
      }
      const [summary] = (await store.list({ states: ['failed'] }, 1)).items;
      expect(summary).toMatchObject({ flowId: 'one', labels: { env: 'prod', team: 'x' }, error: FAILURE });
      expect(summary).not.toHaveProperty('request');
    });

    it('pages through a label and through long labels', async () => {
      const labels = { note: 'n'.repeat(5_000) };
      const items = Array.from({ length: 5 }, () => newExecution({ labels }));
      await store.accept(items);
      const first = await store.list({ labels }, 3);
      const second = await store.list({ labels }, 3, first.nextCursor!);
      const seen = [...first.items, ...second.items].map(({ executionId }) => executionId);
      expect(seen.toSorted()).toEqual(items.map(({ executionId }) => executionId));
      expect([first.items.length, second.nextCursor]).toEqual([3, null]);
    });

    it('counts what is ahead: higher priority, or the same and older, unparked, and no further than asked', async () => {
      await queuedExecutions(store, 2, { priority: 'high' });
      const [first, parked] = await queuedExecutions(store, 2);
      await store.park([parked!], 'pool_full');
      await queuedExecutions(store, 3, { priority: 'low' });
      const [last] = await queuedExecutions(store, 1);
      expect(await store.countAhead(first!.executionId, 100)).toBe(2);
      expect(await store.countAhead(last!.executionId, 100)).toBe(3);
      expect(await store.countAhead(last!.executionId, 2)).toBe(2);
      expect(await store.countAhead('unknown', 10)).toBe(0);
    });

    it('counts what is open and what is dead', async () => {
      const held = await heldExecutions(store, 4);
      await queuedExecutions(store, 2);
      await store.accept([newExecution()]);
      await store.markRunning([held[0]!]);
      await store.finish([finished(held[1]!), finished(held[2]!, { state: 'dead', error: FAILURE })]);
      const none = Object.fromEntries(EXECUTION_STATES.map((state) => [state, 0]));
      expect(await store.countOpen()).toEqual({
        ...none,
        accepted: 1,
        queued: 2,
        assigned: 1,
        running: 1,
        dead: 1,
      });
    });
  });

  describe('dead letters', () => {
    it('keeps letters, newest first, until they are deleted', async () => {
      await store.addDeadLetters([letter, { ...letter, source: 'second' }]);
      await store.addDeadLetters([{ ...letter, source: 'third' }]);
      const first = await store.listDeadLetters(2);
      expect(first.items.map(({ source }) => source)).toEqual(['third', 'second']);
      const rest = await store.listDeadLetters(2, first.nextCursor!);
      expect(rest).toEqual({
        items: [{ ...letter, id: expect.any(String), at: expect.any(Number) }],
        nextCursor: null,
      });
      const [oldest] = rest.items;
      expect(await store.getDeadLetter(oldest!.id)).toEqual(oldest);
      expect(await store.getDeadLetter(oldest!.id)).toEqual(oldest);
      expect(await store.deleteDeadLetter(oldest!.id)).toBe(true);
      expect(await store.deleteDeadLetter(oldest!.id)).toBe(false);
      expect(await store.getDeadLetter(oldest!.id)).toBeNull();
      for (const id of ['unknown', '0', '1.5', '9'.repeat(30)]) {
        expect(await store.getDeadLetter(id)).toBeNull();
        expect(await store.deleteDeadLetter(id)).toBe(false);
      }
      expect((await store.listDeadLetters(10)).items).toHaveLength(2);
    });
  });

  describe('pruning', () => {
    it('deletes up to a number of executions that ended long enough ago, with their labels', async () => {
      const labels = { env: 'prod' };
      const done = await heldExecutions(store, 3, { labels });
      const [open] = await heldExecutions(store, 1, { labels });
      await queuedExecutions(store, 1);
      await store.finish(done.map((task) => finished(task)));
      expect(await store.prune(60_000, 10)).toBe(0);
      const counts: number[] = [];
      await until(
        async () => counts.push(await store.prune(0, 2)),
        () => counts.reduce((sum, count) => sum + count, 0) === 3,
      );
      expect(Math.max(...counts)).toBeLessThanOrEqual(2);
      expect((await store.list({}, 10)).items).toHaveLength(2);
      expect((await store.list({ labels }, 10)).items.map(({ executionId }) => executionId)).toEqual([
        open!.executionId,
      ]);
      expect(await store.accept([newExecution({ executionId: done[0]!.executionId, labels })])).toEqual([
        { kind: 'created' },
      ]);
    });

    it('deletes dead letters that are old enough, oldest first, under the same limit', async () => {
      const [done] = await heldExecutions(store, 1);
      await store.finish([finished(done!)]);
      await store.addDeadLetters(['1', '2', '3', '4'].map((source) => ({ ...letter, source })));
      const left = async (): Promise<string[]> =>
        (await store.listDeadLetters(10)).items.map(({ source }) => source);
      expect(await store.prune(60_000, 10)).toBe(0);
      expect(await left()).toEqual(['4', '3', '2', '1']);
      await delay(20);
      expect(await store.prune(0, 3)).toBe(3);
      expect([await store.get(done!.executionId), await left()]).toEqual([null, ['4', '3']]);
      expect(await store.prune(0, 3)).toBe(2);
      expect(await left()).toEqual([]);
    });
  });

  describe('the lease', () => {
    it('is taken by the first, renewed by its holder under the same epoch, and refused to others', async () => {
      const mine = await store.acquireLease('me', 60_000);
      expect(mine).toMatchObject({ holder: 'me', epoch: 1 });
      expect(mine.remainingMs).toBeGreaterThan(50_000);
      expect(await store.acquireLease('other', 60_000)).toMatchObject({ holder: 'me', epoch: 1 });
      expect(await store.acquireLease('me', 90_000)).toMatchObject({ holder: 'me', epoch: 1 });
      const seen = await store.acquireLease('other', 60_000);
      expect(seen.remainingMs).toBeGreaterThan(60_000);
    });

    it('goes to another holder once it has run out, with a higher epoch each time', async () => {
      let { epoch } = await store.acquireLease('holder-0', 1);
      for (const holder of ['holder-1', 'holder-2', 'holder-2']) {
        const next = await until(
          () => store.acquireLease(holder, 1),
          (lease) => lease.epoch > epoch,
        );
        expect(next).toMatchObject({ holder, epoch: epoch + 1 });
        ({ epoch } = next);
      }
    });

    it('is free at once when its holder gives it up, and only its holder can', async () => {
      const { epoch } = await store.acquireLease('me', 60_000);
      await store.releaseLease('other');
      expect(await store.acquireLease('other', 60_000)).toMatchObject({ holder: 'me' });
      await store.releaseLease('me');
      expect(await store.acquireLease('other', 60_000)).toMatchObject({ holder: 'other', epoch: epoch + 1 });
      expect(await store.acquireLease('me', 60_000)).toMatchObject({ holder: 'other', epoch: epoch + 1 });
    });
  });

  describe('scaling', () => {
    const decided = (desired: number, revision: number) => ({
      workerClass: 'default',
      desired,
      reason: `${desired} wanted`,
      revision,
    });

    it('knows no class until somebody decides, and gives back what was decided', async () => {
      expect(await store.scalingRecords()).toEqual([]);
      const { epoch } = await store.acquireLease('me', 60_000);
      const both = [
        { ...decided(1, 0), workerClass: 'sql' },
        { ...decided(2, 0), reason: 'lone \u{1F984} "quoted"' },
      ];
      expect(await store.recordScaling(epoch, both)).toEqual(new Set(['default', 'sql']));
      const [first, second] = await store.scalingRecords();
      expect(first).toMatchObject({
        workerClass: 'default',
        desired: 2,
        minWorkers: null,
        maxWorkers: null,
        paused: false,
        reason: 'lone \u{1F984} "quoted"',
        revision: 1,
      });
      expect(second).toMatchObject({ workerClass: 'sql', desired: 1 });
      expect(first!.desiredAgeMs).toBeLessThan(60_000);
      expect(Math.abs(first!.updatedAt - Date.now())).toBeLessThan(60_000);
      expect(await store.recordScaling(epoch, [])).toEqual(new Set());
    });

    it('takes nothing from a leader whose term is over', async () => {
      const { epoch } = await store.acquireLease('me', 60_000);
      await store.recordScaling(epoch, [decided(2, 0)]);
      await store.releaseLease('me');
      const next = await store.acquireLease('other', 60_000);
      expect(next.epoch).toBeGreaterThan(epoch);
      expect(await store.recordScaling(epoch, [decided(9, 1)])).toEqual(new Set());
      expect(await store.scalingRecords()).toMatchObject([{ desired: 2, revision: 1 }]);
      expect(await store.recordScaling(next.epoch, [decided(9, 1)])).toEqual(new Set(['default']));
    });

    it('does not decide over what a person changed meanwhile', async () => {
      const { epoch } = await store.acquireLease('me', 60_000);
      await store.recordScaling(epoch, [decided(2, 0)]);
      const changed = await store.changeScaling('default', { desired: 7, reason: 'month end' });
      expect(changed).toMatchObject({ desired: 7, reason: 'month end', revision: 2 });
      expect(await store.recordScaling(epoch, [decided(3, 1)])).toEqual(new Set());
      expect(await store.scalingRecords()).toMatchObject([{ desired: 7, revision: 2 }]);
      expect(await store.recordScaling(epoch, [decided(3, 2)])).toEqual(new Set(['default']));
    });

    it('changes just the fields given, also of a class that nobody decided on', async () => {
      await store.changeScaling('sql', { paused: true });
      await store.changeScaling('sql', { minWorkers: 1, maxWorkers: 4 });
      expect(await store.scalingRecords()).toMatchObject([
        { desired: null, desiredAgeMs: null, paused: true, minWorkers: 1, maxWorkers: 4, revision: 2 },
      ]);
      await store.changeScaling('sql', { desired: 3, reason: 'asked for' });
      await store.changeScaling('sql', { paused: false });
      const cleared = await store.changeScaling('sql', { minWorkers: null, maxWorkers: null });
      expect(cleared).toMatchObject({ desired: 3, reason: 'asked for', paused: false, minWorkers: null });
      const { epoch } = await store.acquireLease('me', 60_000);
      await store.recordScaling(epoch, [{ ...decided(4, 5), workerClass: 'sql' }]);
      expect(await store.scalingRecords()).toMatchObject([{ desired: 4, revision: 6 }]);
    });

    it('loses no change of replicas that make theirs at the same time', async () => {
      await Promise.all(
        Array.from({ length: 20 }, (_, index) =>
          store.changeScaling('default', index % 2 ? { paused: true } : { minWorkers: 1, maxWorkers: 9 }),
        ),
      );
      expect(await store.scalingRecords()).toMatchObject([
        { paused: true, minWorkers: 1, maxWorkers: 9, revision: 20 },
      ]);
    });
  });

  it('answers a ping, opens only once and rejects after it is closed', async () => {
    await store.ping();
    await store.open();
    await store.close();
    await expect(store.ping()).rejects.toMatchObject({ name: 'StoreUnavailableError', retryable: true });
    await store.close();
  });
});
