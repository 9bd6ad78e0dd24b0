import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Admission, PATIENCE_MS } from '../../../src/orchestrator/admission.js';
import { PRIORITIES } from '../../../src/queue/priority.js';
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

const waitsForSlot = ({ delayMs, maxAttempts }: NewExecution): boolean => delayMs === 0 && maxAttempts > 1;

/** Lets everything that is ready in this turn of the event loop run. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

interface Write {
  ids: string[];
  places: string[];
  land: () => void;
  crash: (error: Error) => void;
}

/** An admission to a pool of so many free slots a class, with writes that land when they are told to. */
function setUp({ slots = {} as Record<string, number>, slotsPerS = 1_000_000, enough = 500 } = {}) {
  const asked = { reserve: 0, isWorthWaiting: [] as { requiredTypes: string; waiting: number }[] };
  const pool = {
    slots,
    /** What is free is no slot, but what workers may have ahead. */
    areAhead: false,
    slotsPerS,
    nowMs: 0,
    /** Priorities that get a slot no sooner by waiting. */
    worthless: new Set<string>(),
    faults: new Set<string>(),
  };
  const writes: Write[] = [];
  const failFor = (what: string): void => {
    if (pool.faults.has(what)) throw new Error(`no ${what}`);
  };
  const admission = new Admission<string, string>({
    enough,
    mayWait: waitsForSlot,
    reserve: ({ executionId, requiredTypes, delayMs, maxAttempts }) => {
      asked.reserve++;
      failFor(`reserve ${executionId}`);
      if (delayMs > 0) return 'record';
      if (maxAttempts === 1 && pool.areAhead) return null;
      const free = pool.slots[requiredTypes] ?? 0;
      pool.slots[requiredTypes] = Math.max(0, free - 1);
      return free > 0 ? 'slot' : null;
    },
    queue: ({ executionId }) => {
      failFor(`queue ${executionId}`);
      return 'line';
    },
    accept: (executions, places) =>
      new Promise((resolve, reject) => {
        const land = (): void => resolve(executions.map(({ executionId }) => `${executionId} is on record`));
        writes.push({ ids: ids(executions), places, land, crash: reject });
      }),
    isWorthWaiting: (requiredTypes, priority, waiting) => {
      asked.isWorthWaiting.push({ requiredTypes, waiting });
      failFor(`isWorthWaiting ${requiredTypes}`);
      return !pool.worthless.has(priority) && waiting <= (pool.slotsPerS * PATIENCE_MS) / 1_000;
    },
    now: () => pool.nowMs,
  });
  const free = (slots: number, requiredTypes = 'log'): void => {
    pool.slots[requiredTypes] = slots;
    admission.wake();
  };
  /** Lands each write as it comes, until so many executions are written. */
  const landAll = async (count: number): Promise<void> => {
    for (let landed = 0, written = 0; written < count;) {
      const write = writes[landed];
      if (write) {
        write.land();
        written += write.ids.length;
        landed++;
      }
      await turn();
    }
  };
  return { admission, pool, asked, writes, free, landAll };
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
    expect(writes).toMatchObject([{ ids: ids(early), places: ['line', 'line'] }]);
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
    expect(writes).toMatchObject([{ ids: ids([other, delayed]), places: ['slot', 'record'] }]);

    const full = setUp();
    void full.admission.submit([execution()]);
    await turn();
    void full.admission.submit([delayed, execution({ requiredTypes: 'http', delayMs: 10 })]);
    await turn();
    // Its class is full, so it is not even asked whether there is a slot.
    expect(full.writes).toMatchObject([{ places: ['line', 'record'] }]);
  });

  it('gives no slot to what cannot wait, while one of its class and of its rank or a higher one waits', async () => {
    const { admission, writes, free } = setUp();
    const waiting = several(2);
    const single = (fields: Partial<NewExecution> = {}) => execution({ maxAttempts: 1, ...fields });
    void admission.submit(waiting);
    await turn();
    const [like, low, high, other] = [
      single(),
      single({ priority: 'low' }),
      single({ priority: 'high' }),
      single({ requiredTypes: 'http' }),
    ];
    void admission.submit([like, low, high, other]);
    free(2);
    free(1, 'http');
    await turn();
    expect(writes).toMatchObject([
      {
        ids: ids([high, waiting[0]!, like, other, low]),
        places: ['slot', 'slot', 'line', 'slot', 'line'],
      },
    ]);
  });

  it('does not take a class for full when one that cannot wait finds no slot', async () => {
    const { admission, pool, writes } = setUp({ slots: { log: 1 } });
    const [single, patient] = [execution({ maxAttempts: 1, priority: 'high' }), execution()];
    pool.areAhead = true;
    void admission.submit([single, patient]);
    await turn();
    expect(writes).toMatchObject([{ ids: ids([single, patient]), places: ['line', 'slot'] }]);
  });

  it('lets each of a batch go its own way, and answers all of it together in its order', async () => {
    const { admission, writes, free } = setUp({ slots: { http: 1 } });
    const batch = [
      execution(),
      execution({ requiredTypes: 'http' }),
      execution({ priority: 'high' }),
      execution({ maxAttempts: 1 }),
    ];
    const [log, http, high, single] = batch as [NewExecution, NewExecution, NewExecution, NewExecution];
    const answered = admission.submit(batch);
    await turn();
    expect(writes).toMatchObject([{ ids: ids([http, single]), places: ['slot', 'line'] }]);
    free(2);
    writes[0]!.land();
    await turn();
    expect(writes[1]).toMatchObject({ ids: ids([high, log]), places: ['slot', 'slot'] });
    writes[1]!.land();
    expect(await answered).toEqual(ids(batch).map((id) => `${id} is on record`));
  });

  it('counts all that wait, of whatever class', async () => {
    const { admission, writes } = setUp({ slotsPerS: 10 });
    const log = several(6);
    void admission.submit([...log, ...several(4, { requiredTypes: 'http' })]);
    await turn();
    expect(writes).toHaveLength(0);
    void admission.submit(several(1, { requiredTypes: 'sql' }));
    await turn();
    expect(writes.map((write) => write.ids)).toEqual([ids(log)]);
  });

  it('puts the priority in line for which it is not worth to wait, and lets the others wait on', async () => {
    const { admission, pool, writes } = setUp();
    pool.worthless.add('high');
    const [normal, high] = [execution(), execution({ priority: 'high' })];
    void admission.submit([normal, high]);
    await turn();
    expect(writes).toMatchObject([{ ids: [high.executionId], places: ['line'] }]);
  });

  it('writes no more than enough together, by rank, and loses no one', async () => {
    const { admission, writes, landAll } = setUp({ slots: { log: 5 }, enough: 2 });
    const [normal, high] = [several(3), several(2, { priority: 'high' })];
    const answered = Promise.all([admission.submit(normal), admission.submit(high)]);
    await turn();
    await landAll(5);
    await answered;
    expect(writes.map((write) => write.ids)).toEqual([
      ids(high),
      ids(normal.slice(0, 2)),
      ids(normal.slice(2)),
    ]);
  });

  it('passes over nothing for ever, however much of a higher rank there is', async () => {
    const { admission, pool, writes } = setUp({ enough: 2 });
    const [low, delayed] = [
      execution({ priority: 'low' }),
      execution({ priority: 'low', delayMs: 5, requiredTypes: 'http' }),
    ];
    pool.slots = { log: 1_000 };
    void admission.submit(several(2, { priority: 'high' }));
    void admission.submit([low, delayed]);
    await turn();
    for (let written = 1; pool.nowMs < PATIENCE_MS; written++) {
      expect(writes.flatMap((write) => write.ids)).not.toContain(low.executionId);
      pool.nowMs += PATIENCE_MS / 4;
      void admission.submit(several(3, { priority: 'high' }));
      writes[written - 1]!.land();
      await turn();
    }
    expect(writes.at(-1)).toMatchObject({ ids: ids([low, delayed]), places: ['line', 'line'] });
  });

  it('puts what has waited long enough in line by age, and gives its slot to a higher rank', async () => {
    const { admission, pool, writes, free } = setUp();
    const [low, normal, young, high] = [
      execution({ priority: 'low' }),
      execution({ requiredTypes: 'http' }),
      execution({ priority: 'low' }),
      execution({ priority: 'high' }),
    ];
    void admission.submit([low]);
    await turn();
    pool.nowMs = 1;
    void admission.submit([normal]);
    pool.nowMs = PATIENCE_MS;
    void admission.submit([young, high]);
    pool.nowMs = PATIENCE_MS + 1;
    free(2);
    await turn();
    // The other slot is for the one that has gone in line, not for the one that came after it.
    expect(writes).toMatchObject([{ ids: ids([low, normal, high]), places: ['line', 'line', 'slot'] }]);
  });

  it('asks no more than it has to, however many wait', async () => {
    const { admission, asked, free } = setUp();
    void admission.submit([...several(10_000), ...several(10_000, { requiredTypes: 'http' })]);
    await turn();
    Object.assign(asked, { reserve: 0, isWorthWaiting: [] });
    free(3);
    await turn();
    expect(asked.reserve).toBe(3 + 2);
    expect(asked.isWorthWaiting.map(({ requiredTypes }) => requiredTypes)).toEqual(['log', 'http']);
  });

  it('does not ask whether to wait of what finds its slot', async () => {
    const { admission, asked } = setUp({ slots: { log: 1 } });
    void admission.submit([execution()]);
    await turn();
    expect(asked.isWorthWaiting).toEqual([]);
  });

  it('tells how many wait of each class for want of a slot', async () => {
    const { admission, free } = setUp({ slots: { sql: 1 } });
    void admission.submit([
      ...several(2),
      ...several(1, { priority: 'high' }),
      ...several(2, { requiredTypes: 'http' }),
    ]);
    expect(admission.waitingKinds()).toEqual([]);
    await turn();
    expect(admission.waitingKinds()).toEqual([
      { requiredTypes: 'log', count: 3 },
      { requiredTypes: 'http', count: 2 },
    ]);
    free(2, 'http');
    await turn();
    expect(admission.waitingKinds()).toEqual([{ requiredTypes: 'log', count: 3 }]);
  });

  it.each(['reserve', 'queue'])(
    'answers one for which %s fails with the error, and goes on',
    async (what) => {
      const { admission, pool, writes } = setUp({ slotsPerS: 0 });
      const batch = several(3);
      const [first, broken, last] = ids(batch) as [string, string, string];
      const heldUp = what === 'queue' ? 0 : 3;
      pool.slots['log'] = heldUp;
      pool.faults.add(`${what} ${broken}`);
      const answered = admission.submit(batch);
      await turn();
      writes[0]!.land();
      expect(await answered).toEqual([
        `${first} is on record`,
        new Error(`no ${what} ${broken}`),
        `${last} is on record`,
      ]);
      const later = admission.submit([execution()]);
      await turn();
      writes[1]!.land();
      expect(await later).toHaveLength(1);
    },
  );

  it('answers those with the error of which it cannot be known whether to wait, and goes on', async () => {
    const { admission, pool, writes } = setUp({ slots: { http: 1 } });
    pool.faults.add('isWorthWaiting log');
    const http = execution({ requiredTypes: 'http' });
    const answered = admission.submit([execution(), http]);
    await turn();
    writes[0]!.land();
    expect(await answered).toEqual([new Error('no isWorthWaiting log'), `${http.executionId} is on record`]);
    // Nothing but those that fail: that leaves no write under way.
    expect(await admission.submit([execution()])).toEqual([new Error('no isWorthWaiting log')]);
    pool.faults.clear();
    const later = admission.submit([execution({ delayMs: 5 })]);
    // It came while the last look was just ending, so its own is one turn later.
    await turn();
    await turn();
    writes[1]!.land();
    expect(await later).toHaveLength(1);
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
        priority: fc.constantFrom(...PRIORITIES),
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
    const enough = fc.integer({ min: 1, max: 10 });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), enough, async (steps, most) => {
        const { admission, pool, writes, free } = setUp({ enough: most });
        const submitted: NewExecution[][] = [];
        const answers: Promise<(string | Error)[]>[] = [];
        let landed = 0;
        const settle = (crash: boolean): void => {
          const write = writes[landed];
          if (write) {
            landed++;
            if (crash) write.crash(new Error('refused'));
            else write.land();
          }
        };
        /** What was submitted when each write began. */
        const known: NewExecution[][] = [];
        const look = async (): Promise<void> => {
          await turn();
          while (known.length < writes.length) known.push(submitted.flat());
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
          await look();
        }
        pool.slotsPerS = 0;
        // Each write takes one of them at least.
        for (let writesLeft = submitted.flat().length; writesLeft > 0; writesLeft--) {
          admission.wake();
          await look();
          settle(false);
          await look();
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
        expect(writes.flatMap((write) => write.ids).toSorted()).toEqual(ids(submitted.flat()).toSorted());
        expect(Math.max(0, ...writes.map((write) => write.ids.length))).toBeLessThanOrEqual(most);
        expectNoneOvertaken(writes, known);
      }),
      { numRuns: 300 },
    );
  });
});

/** Whoever got a slot had nobody before it that waited for one of the same class. @param known by each write, in order of arrival */
function expectNoneOvertaken(writes: readonly Write[], known: readonly NewExecution[][]): void {
  const hasSlot = new Set<string>();
  const isWritten = new Set<string>();
  writes.forEach((write, index) => {
    const all = new Map(known[index]!.map((each, at) => [each.executionId, { ...each, at }]));
    const inLine = new Set(write.ids.filter((_, at) => write.places[at] !== 'slot'));
    const withSlot = write.ids.filter((id) => !inLine.has(id));
    withSlot.forEach((id) => hasSlot.add(id));
    for (const { at, priority, requiredTypes, maxAttempts } of withSlot.map((id) => all.get(id)!)) {
      const isBefore = (other: NewExecution & { at: number }): boolean =>
        PRIORITIES.indexOf(other.priority) < PRIORITIES.indexOf(priority) ||
        (other.priority === priority && (other.at < at || maxAttempts === 1));
      const before = [...all.values()].filter(
        (other) => waitsForSlot(other) && other.requiredTypes === requiredTypes && isBefore(other),
      );
      const overtaken = ids(before).filter((id) => !hasSlot.has(id) && !isWritten.has(id));
      expect(overtaken).toEqual([]);
    }
    write.ids.forEach((id) => isWritten.add(id));
    // Those of a line that are written without a slot are in order, too.
    const order = write.ids.map((id) => all.get(id)!).filter(waitsForSlot);
    for (const { at, priority, requiredTypes } of order) {
      const earlier = [...all.values()].filter(
        (other) =>
          waitsForSlot(other) &&
          other.at < at &&
          other.priority === priority &&
          other.requiredTypes === requiredTypes,
      );
      expect(ids(earlier).filter((id) => !isWritten.has(id))).toEqual([]);
    }
  });
}
