import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { type Assigned, parcelsOf } from '../../../src/orchestrator/task-sender.js';

function assignedTo(workerId: string, seq: number, given: { bytes?: number; solo?: boolean } = {}): Assigned {
  const { bytes = 100, solo = false } = given;
  const executionId = `e${seq}`;
  return {
    task: { executionId, attempt: 1, requiredTypes: 'delay', solo, needsSlot: false },
    content: Buffer.alloc(bytes),
    held: { executionId, attempt: 1, workerId, assignmentSeq: seq, solo },
  };
}

const seqs = (parcels: Assigned[][]): number[][] =>
  parcels.map((parcel) => parcel.map(({ held }) => held.assignmentSeq));

describe('cutting tasks into messages', () => {
  it('puts what goes to one worker into one message, in order', () => {
    const assigned = ['a', 'b', 'a', 'a', 'b'].map((workerId, index) => assignedTo(workerId, index));
    expect(seqs(parcelsOf(assigned, () => true))).toEqual([
      [0, 2, 3],
      [1, 4],
    ]);
  });

  it('makes one message a task where a worker takes no batches', () => {
    const assigned = ['old', 'new', 'old', 'new'].map((workerId, index) => assignedTo(workerId, index));
    expect(seqs(parcelsOf(assigned, (workerId) => workerId === 'new'))).toEqual([[0], [1, 3], [2]]);
  });

  it('closes a message at 100 tasks, and before it grows beyond 1 MiB', () => {
    const many = Array.from({ length: 250 }, (_, index) => assignedTo('a', index));
    expect(parcelsOf(many, () => true).map(({ length }) => length)).toEqual([100, 100, 50]);
    const large = [600_000, 400_000, 100_000, 2_000_000, 10].map((bytes, index) =>
      assignedTo('a', index, { bytes }),
    );
    expect(seqs(parcelsOf(large, () => true))).toEqual([[0, 1], [2], [3], [4]]);
  });

  it('sends a solo task alone, wherever it stands', () => {
    const assigned = [false, true, false, false].map((solo, index) => assignedTo('a', index, { solo }));
    expect(seqs(parcelsOf(assigned, () => true))).toEqual([[0, 2, 3], [1]]);
    const first = [true, false, false].map((solo, index) => assignedTo('a', index, { solo }));
    expect(seqs(parcelsOf(first, () => true))).toEqual([[0], [1, 2]]);
  });

  it('loses nothing, doubles nothing, and keeps the order of each worker', () => {
    const given = fc.array(
      fc.record({
        worker: fc.constantFrom('a', 'b', 'old'),
        bytes: fc.integer({ min: 1, max: 400_000 }),
      }),
      { maxLength: 300 },
    );
    fc.assert(
      fc.property(given, (items) => {
        const assigned = items.map(({ worker, bytes }, index) => assignedTo(worker, index, { bytes }));
        const parcels = parcelsOf(assigned, (workerId) => workerId !== 'old');
        for (const workerId of ['a', 'b', 'old']) {
          const sent = parcels.filter(([first]) => first!.held.workerId === workerId).flat();
          expect(sent).toEqual(assigned.filter(({ held }) => held.workerId === workerId));
        }
        for (const parcel of parcels) {
          expect(new Set(parcel.map(({ held }) => held.workerId)).size).toBe(1);
          const bytes = parcel.reduce((sum, { content }) => sum + content.length, 0);
          expect(parcel.length === 1 || bytes <= 1_048_576).toBe(true);
        }
      }),
      { numRuns: 100 },
    );
  });
});
