import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import type {
  Assignment,
  ExecutionFilter,
  ExecutionRecord,
  ExecutionStore,
} from '../../src/store/execution-store.js';
import { PRIORITIES } from '../../src/queue/priority.js';
import { EXECUTION_STATES, HELD_STATES, isTerminal, TERMINAL_STATES } from '../../src/store/transitions.js';
import { ended, finished, newExecution, postgresAdapter, recordOf, sqliteAdapter } from './store-adapters.js';

/** What may happen to executions that begin without a worker, and to those that begin with one. */
type Life = (store: ExecutionStore, tasks: Assignment[], epoch: number) => Promise<unknown>;
const WITHOUT_WORKER: Life[] = [
  () => Promise.resolve(),
  (store, tasks) => store.markQueued(tasks),
  (store, tasks) => store.park(tasks, 'pool_full'),
  (store, tasks) =>
    Promise.all(tasks.map(({ executionId }) => store.cancel(executionId, 'no longer wanted'))),
  async (store, tasks) => {
    await Promise.all(tasks.map(({ executionId }) => store.cancel(executionId, 'no longer wanted')));
    await store.replay(idsOf(tasks));
  },
];
const WITH_WORKER: Life[] = [
  () => Promise.resolve(),
  (store, tasks) => store.markRunning(tasks),
  (store, tasks) => store.retryLater(tasks.map((task) => ({ ...ended(task), delayMs: 60_000 }))),
  (store, tasks) => store.requeue(tasks.map((task) => ended(task))),
  async (store, tasks) => {
    await Promise.all(tasks.map(({ executionId }) => store.cancel(executionId, 'no longer wanted')));
    await store.requeue(tasks.map((task) => ended(task)));
  },
  ...TERMINAL_STATES.map(
    (state): Life =>
      (store, tasks) =>
        store.finish(tasks.map((task) => finished(task, { state }))),
  ),
  async (store, tasks, epoch) => {
    await store.finish(tasks.map((task) => finished(task, { state: 'dead' })));
    await store.replay(idsOf(tasks));
    await store.assign(
      epoch,
      tasks.map((task) => ({ ...task, attempt: 2 })),
    );
  },
];

const FLOWS = ['flow-0', 'flow-1'];
const WORKERS = ['worker-0', 'worker-1'];
/** Of the executions alike in all else; they are accepted one round after the other. */
const ROUNDS = 3;

describe.each([sqliteAdapter(), postgresAdapter()])('the list of executions on $name', (adapter) => {
  let store: ExecutionStore;
  let records: ExecutionRecord[];

  beforeAll(async () => {
    await adapter.begin();
    store = await adapter.create();
    await store.open();
    records = await populate(store);
  });
  afterAll(async () => {
    await store.close();
    await adapter.end();
  });

  it('has an end exactly where the execution has ended, and a worker where one holds it or ended it', () => {
    expect(new Set(records.map(({ state }) => state))).toEqual(new Set(EXECUTION_STATES));
    const held = new Set<string>(HELD_STATES);
    for (const { executionId, state, finishedAt, workerId } of records) {
      const hasWorker = isTerminal(state) ? expect.anything() : held.has(state);
      expect({ executionId, state, hasEnd: finishedAt !== null, hasWorker: workerId !== null }).toEqual({
        executionId,
        state,
        hasEnd: isTerminal(state),
        hasWorker,
      });
    }
  });

  it('answers, page after page, what a look at each execution answers', async () => {
    const times = [...new Set(records.map(({ createdAt }) => createdAt))];
    const time = fc.constantFrom(...times, times[0]! + 1, times.at(-1)! - 1);
    const filters: fc.Arbitrary<ExecutionFilter> = fc.record(
      {
        states: fc.array(fc.constantFrom(...EXECUTION_STATES), { maxLength: 4 }),
        flowId: fc.constantFrom(...FLOWS, 'none'),
        workerId: fc.constantFrom(...WORKERS, 'none'),
        priority: fc.constantFrom(...PRIORITIES),
        labels: fc.constantFrom<Record<string, string>>(
          { round: '0' },
          { round: '1', kind: 'odd' },
          { kind: 'odd' },
        ),
        createdAfter: time,
        createdBefore: time,
      },
      { requiredKeys: [] },
    );
    await fc.assert(
      fc.asyncProperty(filters, fc.integer({ min: 1, max: 60 }), async (filter, limit) => {
        const expected = records
          .filter((record) => passes(record, filter))
          .map(({ executionId }) => executionId);
        expect(await pages(store, filter, limit)).toEqual(chunks(expected, limit));
      }),
      { numRuns: 300 },
    );
  });
});

/** @returns every record, newest first */
async function populate(store: ExecutionStore): Promise<ExecutionRecord[]> {
  const { epoch } = await store.acquireLease('me', 600_000);
  const lives = [
    ...WITHOUT_WORKER.map((life) => ({ life, withWorker: false })),
    ...WITH_WORKER.map((life) => ({ life, withWorker: true })),
  ];
  const ids: string[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [index, { life, withWorker }] of lives.entries()) {
      const items = FLOWS.flatMap((flowId) =>
        PRIORITIES.map((priority, place) =>
          newExecution({
            flowId,
            priority,
            labels: { round: String(round), ...(place === 1 ? { kind: 'odd' } : {}) },
            workerId: withWorker ? WORKERS[(index + place + round) % WORKERS.length]! : null,
          }),
        ),
      );
      await store.accept(items);
      const tasks = items.map(({ executionId, workerId }) => ({
        executionId,
        attempt: 1,
        workerId: workerId ?? 'none',
      }));
      await life(store, tasks, epoch);
      ids.push(...idsOf(tasks));
    }
  }
  const records = await Promise.all(ids.map((id) => recordOf(store, id)));
  // Of the same instant, the one accepted last comes first.
  return records.toReversed().toSorted((a, b) => b.createdAt - a.createdAt);
}

function passes(record: ExecutionRecord, filter: ExecutionFilter): boolean {
  return (
    (filter.states?.includes(record.state) ?? true) &&
    (filter.flowId ?? record.flowId) === record.flowId &&
    (filter.workerId ?? record.workerId) === record.workerId &&
    (filter.priority ?? record.priority) === record.priority &&
    record.createdAt >= (filter.createdAfter ?? 0) &&
    record.createdAt < (filter.createdBefore ?? Infinity) &&
    Object.entries(filter.labels ?? {}).every(([name, value]) => record.labels[name] === value)
  );
}

async function pages(store: ExecutionStore, filter: ExecutionFilter, limit: number): Promise<string[][]> {
  const found: string[][] = [];
  for (let cursor: string | null | undefined; cursor !== null;) {
    const page = await store.list(filter, limit, cursor);
    found.push(idsOf(page.items));
    cursor = page.nextCursor;
  }
  return found;
}

/** Nothing at all is one empty page. */
function chunks(ids: string[], size: number): string[][] {
  const count = Math.max(1, Math.ceil(ids.length / size));
  return Array.from({ length: count }, (_, index) => ids.slice(index * size, (index + 1) * size));
}

function idsOf(items: readonly { executionId: string }[]): string[] {
  return items.map(({ executionId }) => executionId);
}
