import { describe, expect, it } from '@jest/globals';
import { SingleFlight } from '../../../src/queue/single-flight.js';

function controlled<T>() {
  const flights: { items: T[]; land: () => void; crash: (error: Error) => void }[] = [];
  const fly = (items: T[]): Promise<T[]> =>
    new Promise((resolve, reject) => {
      flights.push({ items, land: () => resolve(items), crash: reject });
    });
  return { flights, fly };
}

/** Lets everything that is ready in this turn of the event loop run. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('single-flight batching', () => {
  it('sends one item at once, and what came meanwhile together', async () => {
    const { flights, fly } = controlled<number>();
    const batches = new SingleFlight(fly);
    const first = batches.add(1);
    await turn();
    const others = [batches.add(2), batches.add(3)];
    await turn();
    expect(flights.map(({ items }) => items)).toEqual([[1]]);
    flights[0]!.land();
    expect(await first).toBe(1);
    await turn();
    expect(flights.map(({ items }) => items)).toEqual([[1], [2, 3]]);
    flights[1]!.land();
    expect(await Promise.all(others)).toEqual([2, 3]);
  });

  it('puts items of the same turn into one batch, up to the largest batch', async () => {
    const { flights, fly } = controlled<number>();
    const batches = new SingleFlight(fly, { enough: 2 });
    const all = Promise.all([1, 2, 3].map((item) => batches.add(item)));
    await turn();
    flights[0]!.land();
    await turn();
    flights[1]!.land();
    expect(await all).toEqual([1, 2, 3]);
    expect(flights.map(({ items }) => items)).toEqual([[1, 2], [3]]);
  });

  it('leaves when it is let go, which can ask how many wait for it', async () => {
    const { flights, fly } = controlled<number>();
    let count = (): number => 0;
    let letGo = (): void => undefined;
    const batches = new SingleFlight(fly, {
      depart: async (waiting, leave) => {
        count = waiting;
        await new Promise<void>((resolve) => (letGo = resolve));
        await leave();
      },
    });
    const all = [batches.add(1)];
    await turn();
    expect(count()).toBe(1);
    all.push(batches.add(2), batches.add(3));
    expect(count()).toBe(3);
    expect(flights).toEqual([]);
    letGo();
    await turn();
    flights[0]!.land();
    expect(await Promise.all(all)).toEqual([1, 2, 3]);
    expect(count()).toBe(0);
  });

  it('leaves at the end of the turn, with what came after its first item', async () => {
    const { flights, fly } = controlled<number>();
    const batches = new SingleFlight(fly);
    const first = batches.add(1);
    // As between two sockets that are read in one turn: all microtasks run.
    await new Promise<void>((resolve) => process.nextTick(resolve));
    const second = batches.add(2);
    await turn();
    flights[0]!.land();
    expect(await Promise.all([first, second])).toEqual([1, 2]);
    expect(flights).toHaveLength(1);
  });

  it('keeps together what was added together, and answers it together', async () => {
    const { flights, fly } = controlled<number>();
    const batches = new SingleFlight(fly, { enough: 2 });
    const all = Promise.all([
      batches.addAll([1]),
      batches.addAll([2, 3, 4]),
      batches.add(5),
      batches.addAll([]),
    ]);
    expect(batches.pending).toBe(5);
    await turn();
    expect(batches.pending).toBe(1);
    flights[0]!.land();
    await turn();
    flights[1]!.land();
    expect(await all).toEqual([[1], [2, 3, 4], 5, []]);
    expect(flights.map(({ items }) => items)).toEqual([[1, 2, 3, 4], [5]]);
  });

  it('fails the items of a flight that failed, and flies on', async () => {
    const { flights, fly } = controlled<number>();
    const batches = new SingleFlight(fly);
    const first = batches.add(1);
    await turn();
    const second = batches.add(2);
    flights[0]!.crash(new Error('storm'));
    await expect(first).rejects.toThrow('storm');
    await turn();
    flights[1]!.land();
    expect(await second).toBe(2);
  });

  it('is idle when nothing waits and nothing flies', async () => {
    const { flights, fly } = controlled<number>();
    const batches = new SingleFlight(fly);
    const item = batches.add(1);
    let idle = false;
    const waited = batches.idle().then(() => {
      idle = true;
    });
    await turn();
    expect(idle).toBe(false);
    flights[0]!.land();
    await Promise.all([item, waited]);
    expect(idle).toBe(true);
  });
});
