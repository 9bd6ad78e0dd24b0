import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { WriteGate } from '../../../src/store/write-gate.js';

/** Writes that land when they are told to. */
function writes(gate: WriteGate) {
  const begun: string[] = [];
  const lands = new Map<string, () => void>();
  const write = (name: string, rows = 1): Promise<void> =>
    gate.pass(
      () => rows,
      () => {
        begun.push(name);
        return new Promise((resolve) => lands.set(name, resolve));
      },
    );
  return { begun, write, land: (name: string) => lands.get(name)!() };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Lets everything begin that waits for nothing but turns of the event loop. */
async function settled(): Promise<void> {
  for (let turns = 0; turns < 5; turns++) await turn();
}

/** However slow the machine is, no time passes for the gate. */
const stopTheClock = (): void => void jest.spyOn(performance, 'now').mockReturnValue(0);

describe('the gate before writes', () => {
  afterEach(() => void jest.restoreAllMocks());

  it('lets a lone write pass when a turn has brought no other', async () => {
    const { begun, write } = writes(new WriteGate());
    void write('ends');
    await turn();
    // The gate waits for the turn that comes after this one.
    await turn();
    expect(begun).toEqual(['ends']);
  });

  it('takes along what arrives while it gathers, and is written when a turn brings nothing more', async () => {
    stopTheClock();
    const gate = new WriteGate();
    let waiting = 1;
    const taken: number[] = [];
    const written = gate.pass(
      () => waiting,
      async () => void taken.push(waiting),
    );
    for (const arrived of [6, 30, 64]) {
      setImmediate(() => (waiting = arrived));
      await turn();
      expect(taken).toEqual([]);
    }
    await settled();
    expect(taken).toEqual([64]);
    await written;
  });

  it('gathers no longer when the batch is large', async () => {
    stopTheClock();
    const gate = new WriteGate();
    let waiting = 0;
    await gate.pass(
      () => (waiting += 10),
      () => Promise.resolve(),
    );
    expect(waiting).toBe(130);
  });

  it('has a batch that grew large while it waited gather no more', async () => {
    const gate = new WriteGate();
    const { begun, write, land } = writes(gate);
    void write('first');
    await settled();
    let waiting = 1;
    const written = gate.pass(
      () => waiting,
      async () => void begun.push('grown'),
    );
    waiting = 128;
    let turns = 0;
    setImmediate(() => turns++);
    land('first');
    await written;
    expect(begun).toEqual(['first', 'grown']);
    expect(turns).toBe(0);
  });

  it('gathers for a few milliseconds at most, however little each turn brings', async () => {
    const gate = new WriteGate();
    let waiting = 1;
    const written = gate.pass(
      () => waiting,
      async () => waiting,
    );
    for (; waiting < 100; waiting++) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1); // what arrived takes a millisecond to be read
      await turn();
    }
    expect(await written).toBeLessThan(20);
  });

  it('lets those that came during a write begin together when it is back', async () => {
    const { begun, write, land } = writes(new WriteGate());
    void write('first');
    void write('ends');
    void write('rows');
    await settled();
    expect(begun).toEqual(['first']);
    land('first');
    await settled();
    expect(begun).toEqual(['first', 'ends', 'rows']);
  });

  it('waits for the last of those that began together', async () => {
    const { begun, write, land } = writes(new WriteGate());
    ['first', 'ends', 'rows'].forEach((name) => void write(name));
    await settled();
    land('first');
    await settled();
    void write('late');
    land('rows');
    await settled();
    expect(begun).not.toContain('late');
    land('ends');
    await settled();
    expect(begun).toContain('late');
  });

  it('stops no batch that is large by itself, nor waits for it', async () => {
    const { begun, write } = writes(new WriteGate());
    void write('first');
    void write('large', 128);
    void write('small');
    await settled();
    expect(begun.toSorted()).toEqual(['first', 'large']);
  });

  it('lets the next begin after one that failed', async () => {
    const gate = new WriteGate();
    await expect(
      gate.pass(
        () => 1,
        () => Promise.reject(new Error('disk full')),
      ),
    ).rejects.toThrow('disk full');
    await expect(
      gate.pass(
        () => 1,
        () => Promise.resolve('written'),
      ),
    ).resolves.toBe('written');
  });

  it('has nobody wait for long for a write that hangs, and knows it when that is back', async () => {
    const { begun, write, land } = writes(new WriteGate());
    void write('hanging');
    await settled();
    const later = new Promise<void>((resolve) => void write('rows').then(resolve));
    await settled();
    expect(begun).toEqual(['hanging']);
    while (begun.length < 2) await turn();
    expect(begun).toEqual(['hanging', 'rows']);
    void write('next');
    land('hanging');
    await settled();
    expect(begun).toEqual(['hanging', 'rows']);
    land('rows');
    await later;
    await settled();
    expect(begun).toEqual(['hanging', 'rows', 'next']);
  });
});
