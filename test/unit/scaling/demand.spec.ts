import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { parseWorkerClass } from '../../../src/config/worker-class.js';
import { attributeDemand, type ClassSupply, type WaitingWork } from '../../../src/scaling/demand.js';

/** @param entry as in `WORKER_CLASSES`; `live` workers support what the class is configured for, or `learned`, or `delay` */
function supply(
  entry: string,
  { live = 0, learned = null }: { live?: number; learned?: string[] | null } = {},
): ClassSupply {
  const workerClass = parseWorkerClass(entry);
  const offered = learned ?? (workerClass.nodeTypes.length > 0 ? workerClass.nodeTypes : ['delay', 'log']);
  return {
    workerClass,
    learnedNodeTypes: learned,
    liveNodeTypes: Array.from({ length: live }, () => offered),
  };
}

const waiting = (kinds: Record<string, number>): WaitingWork['windows'] =>
  Object.entries(kinds).map(([requiredTypes, count]) => ({ requiredTypes, count }));

function demandOf(work: Partial<WaitingWork>, ...supplies: ClassSupply[]): Record<string, [number, number]> {
  const demand = attributeDemand({ windows: [], behindWindows: 0, parked: [], ...work }, supplies);
  return Object.fromEntries(
    [...demand].map(([name, { queuedTasks, unmetTasks }]) => [name, [queuedTasks, unmetTasks]]),
  );
}

describe('the class that waiting work counts for', () => {
  const general = supply('general:1-9', { live: 1 });
  const sql = supply('sql:0-2:sql');

  it('is the most special one that covers it', () => {
    const all = [general, supply('wide:0-2:sql+delay+log', { live: 1 }), supply('sql:0-2:sql', { live: 1 })];
    const windows = waiting({ sql: 3, 'delay,sql': 5, 'delay,http': 7 });
    expect(demandOf({ windows }, ...all)).toEqual({ general: [0, 7], wide: [5, 0], sql: [3, 0] });
  });

  it('is the first of equals', () => {
    const supplies = [supply('a:0-1:x', { live: 1 }), supply('b:0-1:x'), supply('c:0-1'), supply('d:0-1')];
    expect(demandOf({ windows: waiting({ x: 1, y: 2 }) }, ...supplies)).toEqual({
      a: [1, 0],
      b: [0, 0],
      c: [0, 2],
      d: [0, 0],
    });
  });

  it('is none that may have no workers', () => {
    expect(demandOf({ windows: waiting({ sql: 3 }) }, general, supply('sql:0-0:sql'))).toEqual({
      general: [0, 3],
      sql: [0, 0],
    });
  });

  it('has it as queued while a live worker of whatever class can run it, else as unmet', () => {
    const capable = supply('general:1-9', { live: 1, learned: ['delay', 'sql'] });
    const work = { windows: waiting({ sql: 4 }) };
    expect(demandOf(work, general, sql)).toEqual({ general: [0, 0], sql: [0, 4] });
    expect(demandOf(work, capable, sql)).toEqual({ general: [0, 0], sql: [4, 0] });
  });

  it('is none for work that no class could ever run', () => {
    const known = supply('general:1-9', { live: 1, learned: ['delay'] });
    const work = { windows: waiting({ exotic: 4 }), behindWindows: 4, parked: waiting({ exotic: 9 }) };
    expect(demandOf(work, known, sql)).toEqual({ general: [0, 0], sql: [0, 0] });
  });

  it('may be one without configured types, until its workers have shown that they cannot', () => {
    const work = { windows: waiting({ exotic: 4 }) };
    expect(demandOf(work, supply('general:0-9'))).toEqual({ general: [0, 4] });
    expect(demandOf(work, supply('general:0-9', { learned: ['delay'] }))).toEqual({ general: [0, 0] });
    expect(demandOf(work, supply('general:0-9', { learned: ['delay', 'exotic'] }))).toEqual({
      general: [0, 4],
    });
  });

  it('goes by what its workers have shown when that differs from the configuration', () => {
    const misspelt = supply('sql:0-2:sql', { learned: ['delay'] });
    expect(demandOf({ windows: waiting({ sql: 2 }) }, misspelt)).toEqual({ sql: [0, 0] });
  });
});

describe('how much counts', () => {
  const general = supply('general:1-9', { live: 1 });
  const sql = supply('sql:0-2:sql');

  it('includes what is parked, whatever it was parked for', () => {
    const parked = [
      { requiredTypes: 'sql', reason: 'no_capable_worker' as const, count: 5 },
      { requiredTypes: 'delay', reason: 'pool_full' as const, count: 7 },
    ];
    expect(demandOf({ parked, windows: waiting({ delay: 1 }) }, general, sql)).toEqual({
      general: [8, 0],
      sql: [0, 5],
    });
  });

  it('spreads what is behind the windows as what is in them', () => {
    const work = { windows: waiting({ delay: 30, sql: 10 }), behindWindows: 400 };
    expect(demandOf(work, general, sql)).toEqual({ general: [330, 0], sql: [0, 110] });
  });

  it('gives what is behind empty windows to the least special class', () => {
    expect(demandOf({ behindWindows: 9 }, general, sql)).toEqual({ general: [9, 0], sql: [0, 0] });
    expect(demandOf({ behindWindows: 9 }, sql, supply('general:0-9'))).toEqual({
      general: [0, 9],
      sql: [0, 0],
    });
  });

  it('is all of it, once, if some class covers everything', () => {
    const types = fc.constantFrom('a', 'b', 'c', 'a,b', 'b,c', 'a,b,c');
    const kinds = fc.array(fc.record({ requiredTypes: types, count: fc.nat(100) }), { maxLength: 8 });
    const entries = fc.uniqueArray(
      fc.constantFrom('p:0-1:a', 'q:0-1:b', 'r:0-1:a+b', 's:0-1:c', 't:0-1:a+b+c'),
    );
    fc.assert(
      fc.property(
        kinds,
        kinds,
        fc.nat(5_000),
        entries,
        fc.nat(2),
        (windows, parked, behindWindows, list, live) => {
          const supplies = [...list, 'rest:0-9'].map((entry) => supply(entry, { live }));
          const demands = Object.values(demandOf({ windows, parked, behindWindows }, ...supplies)).flat();
          const total = [...windows, ...parked].reduce((sum, { count }) => sum + count, behindWindows);
          expect(demands.reduce((sum, count) => sum + count, 0)).toBe(total);
          expect(demands.every((count) => count >= 0)).toBe(true);
        },
      ),
    );
  });
});
