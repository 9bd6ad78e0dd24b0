import { describe, expect, it } from '@jest/globals';
import { measured, NO_THROUGHPUT, type WorkerCounters } from '../../../src/scaling/throughput.js';

const worker = (workerId: string, tasks: number, busyMs: number, incarnation = 'one'): WorkerCounters => ({
  workerId,
  incarnation,
  tasks,
  busyMs,
  slots: 5,
});

describe('what one busy worker gets done', () => {
  it('is not known before a task has ended', () => {
    const first = measured(NO_THROUGHPUT, [worker('a', 0, 0)], 1_000, false);
    expect(first.tasksPerS).toBeNull();
    expect(measured(first, [worker('a', 0, 0)], 2_000, false).tasksPerS).toBeNull();
  });

  it('is slots by run time, whatever share of the slots was busy', () => {
    // 200 ms a task: one slot ends 5 a second, five slots 25.
    expect(measured(NO_THROUGHPUT, [worker('a', 4, 800)], 1_000, false).tasksPerS).toBe(25);
    const two = [worker('a', 4, 800), worker('b', 0, 0)];
    expect(measured(NO_THROUGHPUT, two, 1_000, false).tasksPerS).toBe(25);
  });

  it('counts short tasks directly where work waited all the time: what lies between them takes time too', () => {
    const before = measured(NO_THROUGHPUT, [worker('a', 0, 0), worker('b', 0, 0)], 1_000, true);
    const after = [worker('a', 100, 100), worker('b', 100, 100)];
    expect(measured(before, after, 2_000, true).tasksPerS).toBe(100);
    expect(measured(before, after, 2_000, false).tasksPerS).toBe(5_000);
  });

  it('moves towards what is measured, and stays while nothing ends', () => {
    const first = measured(NO_THROUGHPUT, [worker('a', 10, 1_000)], 1_000, false);
    expect(first.tasksPerS).toBe(50);
    const second = measured(first, [worker('a', 20, 3_000)], 2_000, false);
    expect(second.tasksPerS).toBeCloseTo(50 + 0.3 * (25 - 50));
    expect(measured(second, [worker('a', 20, 3_000)], 3_000, false).tasksPerS).toBe(second.tasksPerS);
  });

  it('takes a worker that began anew, and one that left, for what they are', () => {
    const first = measured(NO_THROUGHPUT, [worker('a', 1_000, 100_000), worker('b', 5, 500)], 1_000, false);
    const anew = measured(first, [worker('a', 10, 1_000, 'two')], 2_000, false);
    expect(anew.tasksPerS).toBeCloseTo(50);
  });
});
