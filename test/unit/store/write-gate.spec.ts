import { describe, expect, it } from '@jest/globals';
import { WriteGate } from '../../../src/store/write-gate.js';

/** Writes that land when they are told to. */
function writes(gate: WriteGate) {
  const begun: string[] = [];
  const lands = new Map<string, () => void>();
  const write = (name: string, rows = 1): Promise<void> =>
    gate.pass(rows, () => {
      begun.push(name);
      return new Promise((resolve) => lands.set(name, resolve));
    });
  return { begun, write, land: (name: string) => lands.get(name)!() };
}

/** Lets everything that is ready in this turn of the event loop run. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('the gate before writes', () => {
  it('lets a lone write pass at once', async () => {
    const { begun, write } = writes(new WriteGate());
    void write('ends');
    await turn();
    expect(begun).toEqual(['ends']);
  });

  it('lets those that came during a write begin together when it is back', async () => {
    const { begun, write, land } = writes(new WriteGate());
    void write('first');
    void write('ends');
    void write('rows');
    await turn();
    expect(begun).toEqual(['first']);
    land('first');
    await turn();
    expect(begun).toEqual(['first', 'ends', 'rows']);
  });

  it('waits for the last of those that began together', async () => {
    const { begun, write, land } = writes(new WriteGate());
    ['first', 'ends', 'rows'].forEach((name) => void write(name));
    await turn();
    land('first');
    await turn();
    void write('late');
    land('rows');
    await turn();
    expect(begun).not.toContain('late');
    land('ends');
    await turn();
    expect(begun).toContain('late');
  });

  it('stops no batch that is large by itself, nor waits for it', async () => {
    const { begun, write } = writes(new WriteGate());
    void write('first');
    void write('large', 128);
    void write('small');
    await turn();
    expect(begun.toSorted()).toEqual(['first', 'large']);
  });

  it('lets the next begin after one that failed', async () => {
    const gate = new WriteGate();
    await expect(gate.pass(1, () => Promise.reject(new Error('disk full')))).rejects.toThrow('disk full');
    await expect(gate.pass(1, () => Promise.resolve('written'))).resolves.toBe('written');
  });

  it('has nobody wait for long for a write that hangs, and knows it when that is back', async () => {
    const { begun, write, land } = writes(new WriteGate());
    void write('hanging');
    await turn();
    const later = new Promise<void>((resolve) => void write('rows').then(resolve));
    await turn();
    expect(begun).toEqual(['hanging']);
    while (begun.length < 2) await turn();
    expect(begun).toEqual(['hanging', 'rows']);
    void write('next');
    land('hanging');
    await turn();
    expect(begun).toEqual(['hanging', 'rows']);
    land('rows');
    await later;
    await turn();
    expect(begun).toEqual(['hanging', 'rows', 'next']);
  });
});
