import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Admission, PATIENCE_MS } from '../../../src/orchestrator/admission.js';
import type { NewExecution } from '../../../src/store/execution-store.js';

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

const several = (count: number, fields: Partial<NewExecution> = {}): NewExecution[] =>
  Array.from({ length: count }, () => execution(fields));
const ids = (executions: readonly NewExecution[]): string[] =>
  executions.map(({ executionId }) => executionId);

const areAlike = (executions: readonly NewExecution[]): boolean =>
  executions.every(
    ({ maxAttempts, priority, requiredTypes }) =>
      maxAttempts > 1 &&
      priority === executions[0]!.priority &&
      requiredTypes === executions[0]!.requiredTypes,
  );

/** Lets everything that is ready in this turn of the event loop run. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** An admission to a pool of so many free slots a class, with writes that land when they are told to. */
function setUp({ slots = {} as Record<string, number>, slotsPerS = 1_000_000 } = {}) {
  const pool = { slots, slotsPerS, nowMs: 0 };
  const writes: { ids: string[]; places: string[]; land: () => void; crash: (error: Error) => void }[] = [];
  const admission = new Admission<string, string>({
    reserve: ({ requiredTypes, delayMs }) => {
      if (delayMs > 0) return 'record';
      const free = pool.slots[requiredTypes] ?? 0;
      pool.slots[requiredTypes] = Math.max(0, free - 1);
      return free > 0 ? 'slot' : null;
    },
    queue: () => 'line',
    accept: (executions, places) =>
      new Promise((resolve, reject) => {
        const land = (): void => resolve(executions.map(({ executionId }) => `${executionId} is on record`));
        writes.push({ ids: ids(executions), places, land, crash: reject });
      }),
    isWorthWaiting: (_, waiting) => waiting <= (pool.slotsPerS * PATIENCE_MS) / 1_000,
    now: () => pool.nowMs,
  });
  const free = (slots: number, requiredTypes = 'log'): void => {
    pool.slots[requiredTypes] = slots;
    admission.wake();
  };
  return { admission, pool, writes, free };
}

describe('admission', () => {
  it('writes at once what finds a slot, and what comes meanwhile together', async () => {
    const { admission, writes } = setUp({ slots: { log: 10 } });
    const [one, two, three] = [execution(), execution(), execution()];
    const first = admission.submit([one]);
    await turn();
    const others = Promise.all([admission.submit([two]), admission.submit([three])]);
    await turn();
    expect(writes).toMatchObject([{ ids: [one.executionId], places: ['slot'] }]);
    writes[0]!.land();
    expect(await first).toEqual([`${one.executionId} is on record`]);
    await turn();
    writes[1]!.land();
    await others;
    expect(writes[1]).toMatchObject({ ids: ids([two, three]), places: ['slot', 'slot'] });
  });

  it('keeps what finds no slot until one comes free, and writes it with that', async () => {
    const { admission, writes, free } = setUp({ slots: { log: 2 } });
    const batch = several(5);
    const answered = admission.submit(batch);
    await turn();
    writes[0]!.land();
    await turn();
    expect(writes).toHaveLength(1);
    free(3);
    await turn();
    writes[1]!.land();
    expect(await answered).toEqual(ids(batch).map((id) => `${id} is on record`));
    expect(writes).toMatchObject([
      { ids: ids(batch.slice(0, 2)), places: ['slot', 'slot'] },
      { ids: ids(batch.slice(2)), places: ['slot', 'slot', 'slot'] },
    ]);
  });

  it('puts in line what has waited long enough, and no more', async () => {
    const { admission, pool, writes, free } = setUp();
    const [early, late] = [several(2), several(2)];
    void admission.submit(early);
    await turn();
    pool.nowMs = PATIENCE_MS - 1;
    void admission.submit(late);
    await turn();
    expect(writes).toHaveLength(0);
    pool.nowMs = PATIENCE_MS;
    free(1);
    await turn();
    expect(writes).toMatchObject([{ ids: ids(early), places: ['slot', 'line'] }]);
  });

  it('looks again by itself, also when no slot comes free', async () => {
    const { admission, pool, writes } = setUp();
    const answered = admission.submit([execution()]);
    await turn();
    pool.slotsPerS = 0;
    while (writes.length === 0) {
      await turn();
    }
    writes[0]!.land();
    await answered;
    expect(writes[0]!.places).toEqual(['line']);
  });

  it('lets as many wait as may get a slot in that time, and no more', async () => {
    const { admission, writes } = setUp({ slotsPerS: 10 });
    void admission.submit(several((10 * PATIENCE_MS) / 1_000));
    await turn();
    expect(writes).toHaveLength(0);
    void admission.submit([execution()]);
    await turn();
    expect(writes[0]!.places).toEqual(Array.from({ length: 11 }, () => 'line'));
  });

  it('gives the first slot to the highest priority, and then to what came first', async () => {
    const { admission, writes, free } = setUp();
    const [low, normal, high, later] = (['low', 'normal', 'high', 'normal'] as const).map((priority) =>
      execution({ priority }),
    );
    for (const each of [low, normal, high, later]) {
      void admission.submit([each!]);
      await turn();
    }
    free(3);
    await turn();
    expect(writes).toMatchObject([{ ids: ids([high!, normal!, later!]), places: ['slot', 'slot', 'slot'] }]);
  });

  it('lets none wait that gets no slot ahead, and the others wait on', async () => {
    const { admission, writes } = setUp();
    const single = execution({ maxAttempts: 1 });
    void admission.submit([execution()]);
    void admission.submit([single]);
    await turn();
    expect(writes).toMatchObject([{ ids: [single.executionId], places: ['line'] }]);
  });

  it('lets nothing wait when that would take too much memory', async () => {
    const { admission, writes } = setUp();
    const [small, large] = [execution(), execution({ request: ' '.repeat(8_388_607) })];
    void admission.submit([small]);
    await turn();
    expect(writes).toHaveLength(0);
    void admission.submit([large]);
    await turn();
    expect(writes).toMatchObject([{ ids: ids([small, large]), places: ['line', 'line'] }]);
  });

  it('lets those behind one that needs no slot have theirs, and those before it wait on', async () => {
    const { admission, writes } = setUp({ slots: { log: 1 } });
    const [delayed, other] = [execution({ delayMs: 10 }), execution()];
    void admission.submit([delayed, other]);
    await turn();
    expect(writes).toMatchObject([{ ids: ids([delayed, other]), places: ['record', 'slot'] }]);

    const full = setUp();
    void full.admission.submit([execution({ requiredTypes: 'http' })]);
    void full.admission.submit([delayed]);
    await turn();
    expect(full.writes).toMatchObject([{ ids: [delayed.executionId], places: ['record'] }]);
  });

  it('lets nothing wait in a batch of several classes, and one class not behind another', async () => {
    const { admission, writes, free } = setUp({ slots: { http: 1 } });
    const [log, http] = [execution(), execution({ requiredTypes: 'http' })];
    const answered = Promise.all([admission.submit([log]), admission.submit([http])]);
    await turn();
    expect(writes).toMatchObject([{ ids: [http.executionId], places: ['slot'] }]);
    free(1);
    writes[0]!.land();
    await turn();
    writes[1]!.land();
    await answered;

    const mixed = setUp();
    void mixed.admission.submit([execution(), execution({ requiredTypes: 'http' })]);
    await turn();
    expect(mixed.writes[0]!.places).toEqual(['line', 'line']);
  });

  it('answers those of a failed write with its error, and goes on with the others', async () => {
    const { admission, writes, free } = setUp({ slots: { log: 1 } });
    const batch = several(2);
    const answered = admission.submit(batch);
    await turn();
    writes[0]!.crash(new Error('disk full'));
    await turn();
    free(1);
    await turn();
    writes[1]!.land();
    expect(await answered).toEqual([new Error('disk full'), `${batch[1]!.executionId} is on record`]);
    expect(await admission.submit([])).toEqual([]);
  });

  it('answers each of any mix of submissions once, in its place, and lets none that waits overtake its like', async () => {
    const submission = fc.array(
      fc.record({
        requiredTypes: fc.constantFrom('log', 'http'),
        priority: fc.constantFrom('normal' as const, 'low' as const),
        delayMs: fc.constantFrom(0, 0, 0, 5),
        maxAttempts: fc.constantFrom(3, 3, 3, 1),
      }),
      { maxLength: 6 },
    );
    const step = fc.oneof(
      submission.map((submitted) => ({ submitted })),
      fc.record({ slots: fc.integer({ min: 0, max: 4 }), requiredTypes: fc.constantFrom('log', 'http') }),
      fc.integer({ min: 0, max: PATIENCE_MS }).map((passMs) => ({ passMs })),
      fc.boolean().map((crash) => ({ crash })),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const { admission, pool, writes, free } = setUp();
        const submitted: NewExecution[][] = [];
        const answers: Promise<(string | Error)[]>[] = [];
        const landed = new Set<object>();
        const settle = (crash: boolean): void => {
          const write = writes.find((each) => !landed.has(each));
          if (write) {
            landed.add(write);
            if (crash) write.crash(new Error('refused'));
            else write.land();
          }
        };
        for (const each of steps) {
          if ('submitted' in each) {
            submitted.push(each.submitted.map(execution));
            answers.push(admission.submit(submitted.at(-1)!));
          } else if ('slots' in each) {
            free(each.slots, each.requiredTypes);
          } else if ('passMs' in each) {
            pool.nowMs += each.passMs;
          } else {
            settle(each.crash);
          }
          await turn();
        }
        pool.slotsPerS = 0;
        // Each write takes one of them at least.
        for (let writesLeft = submitted.flat().length; writesLeft > 0; writesLeft--) {
          admission.wake();
          await turn();
          settle(false);
          await turn();
        }
        const all = await Promise.all(answers);
        all.forEach((given, index) => {
          const expected = ids(submitted[index]!);
          expect(given).toHaveLength(expected.length);
          given.forEach((answer, at) => {
            expect(answer instanceof Error ? 'refused' : answer).toBe(
              answer instanceof Error ? answer.message : `${expected[at]!} is on record`,
            );
          });
        });
        const written = writes.flatMap((write) => write.ids);
        expect(written.toSorted()).toEqual(ids(submitted.flat()).toSorted());
        const patient = submitted.filter(areAlike).flat();
        for (const [requiredTypes, priority] of ['log', 'http'].flatMap((types) =>
          ['normal', 'low'].map((rank) => [types, rank]),
        )) {
          const alike = ids(
            patient.filter(
              (each) =>
                each.requiredTypes === requiredTypes && each.priority === priority && each.delayMs === 0,
            ),
          );
          expect(written.filter((id) => alike.includes(id))).toEqual(alike);
        }
      }),
      { numRuns: 200 },
    );
  });
});
