import { describe, expect, it } from '@jest/globals';
import {
  isSlotNear,
  nextAlone,
  priorityOrder,
  takeParkable,
  takeRunnable,
  type Windows,
} from '../../../src/orchestrator/dispatch-plan.js';
import { ReadyWindow, type WaitingTask } from '../../../src/orchestrator/ready-window.js';
import { PRIORITIES, type Priority } from '../../../src/queue/priority.js';

function windowsOf(tasks: [Priority, string, string, solo?: boolean][], capacity = 10): Windows {
  const windows = Object.fromEntries(
    PRIORITIES.map((priority) => [priority, new ReadyWindow(capacity)]),
  ) as Windows;
  for (const [priority, executionId, requiredTypes, solo = false] of tasks) {
    windows[priority].push({
      priority,
      executionId,
      attempt: 1,
      requiredTypes,
      solo,
      sinceMs: 0,
    } as WaitingTask);
  }
  return windows;
}

describe('the order of priorities', () => {
  it('is strict by default', () => {
    const orders = Array.from({ length: 100 }, (_, decision) => priorityOrder(decision, 0)[0]);
    expect(new Set(orders)).toEqual(new Set(['high']));
  });

  it('looks at low first in exactly the share of decisions that was asked for', () => {
    const lowTurns = Array.from({ length: 1_000 }, (_, decision) => priorityOrder(decision, 0.1)[0]).filter(
      (first) => first === 'low',
    );
    expect(lowTurns).toHaveLength(100);
  });
});

describe('whether a slot is near for what is not on record yet', () => {
  /** `a` and `ab` share workers, which could end 10 tasks a second, and have ended so many. */
  const isNear = (priority: Priority, waiting: number, windows: Windows, endedPerS = 10): boolean =>
    isSlotNear({ requiredTypes: 'a', priority }, waiting, windows, {
      shareWorkers: (types, others) => types.startsWith('a') && others.startsWith('a'),
      shortTasksPerS: () => 10,
      endedPerS: () => endedPerS,
    });

  it('is so for as many as could end in a second, with those of its rank or a higher one on record', () => {
    expect(isNear('normal', 10, windowsOf([]))).toBe(true);
    expect(isNear('normal', 11, windowsOf([]))).toBe(false);
    const windows = windowsOf([
      ['high', 'h', 'a'],
      ['normal', 'n', 'ab'],
    ]);
    expect(isNear('normal', 8, windows)).toBe(true);
    expect(isNear('normal', 9, windows)).toBe(false);
  });

  it('does not depend on what waits for other workers', () => {
    const windows = windowsOf([
      ['high', 'h', 'b'],
      ['low', 'l', 'b'],
    ]);
    expect(isNear('normal', 10, windows)).toBe(true);
  });

  it('is not so while one of a lower rank waits for its workers: that would get each slot first', () => {
    const windows = windowsOf([['normal', 'n', 'ab']]);
    expect(isNear('high', 1, windows)).toBe(false);
    expect(isNear('normal', 1, windows)).toBe(true);
    expect(isNear('low', 1, windows)).toBe(true);
    expect(isNear('normal', 1, windowsOf([['low', 'l', 'a']]))).toBe(false);
  });

  it('goes by what has ended only where some wait: before, workers may have been idle', () => {
    expect(isNear('normal', 10, windowsOf([]), 0)).toBe(true);
    const windows = windowsOf([['normal', 'n', 'a']]);
    expect(isNear('normal', 4, windows, 5)).toBe(true);
    expect(isNear('normal', 5, windows, 5)).toBe(false);
    expect(isNear('normal', 10, windows, 1_000)).toBe(false);
  });
});

describe('the next task to run', () => {
  const anyFree = (): boolean => true;

  it('is the oldest of the highest priority', () => {
    const windows = windowsOf([
      ['low', 'l', 't'],
      ['normal', 'n', 't'],
      ['high', 'h1', 't'],
      ['high', 'h2', 't'],
    ]);
    const taken = [1, 2, 3, 4, 5].map(() => takeRunnable(windows, PRIORITIES, anyFree)?.executionId);
    expect(taken).toEqual(['h1', 'h2', 'n', 'l', undefined]);
  });

  it('passes over a class without a free worker, and only over that', () => {
    const windows = windowsOf([
      ['high', 'blocked', 'sql'],
      ['high', 'free', 'delay'],
      ['normal', 'later', 'delay'],
    ]);
    const taken = takeRunnable(windows, PRIORITIES, (types) => types === 'delay');
    expect(taken?.executionId).toBe('free');
    expect(windows.high.ids()).toEqual(['blocked']);
  });
});

describe('the task that a worker is kept free for', () => {
  const next = (...tasks: [Priority, string, string, boolean][]): string | undefined =>
    nextAlone(windowsOf(tasks), (types, others) => types === others)?.executionId;

  it('is the first in line that has to be alone', () => {
    expect(next(['low', 'l', 'delay', true], ['normal', 'n', 'delay', true])).toBe('n');
    expect(next(['normal', 'n', 'delay', false])).toBeUndefined();
  });

  it('takes no slot from a task before it, and waits for none that other workers run', () => {
    expect(next(['high', 'h', 'delay', false], ['normal', 'n', 'delay', true])).toBeUndefined();
    expect(next(['normal', 'older', 'delay', false], ['normal', 'n', 'delay', true])).toBeUndefined();
    expect(next(['normal', 'n', 'delay', true], ['normal', 'younger', 'delay', false])).toBe('n');
    expect(next(['high', 'h', 'sql', false], ['normal', 'n', 'delay', true])).toBe('n');
  });
});

describe('parking', () => {
  const pool = { isEmpty: false, hasRoom: true, classState: () => 'full' as const };

  it('takes what no live worker supports out of the way', () => {
    const windows = windowsOf([
      ['high', 'a', 'unknown'],
      ['low', 'b', 'delay'],
    ]);
    const parked = takeParkable(windows, {
      ...pool,
      classState: (types) => (types === 'unknown' ? 'none' : 'full'),
    });
    expect(parked).toMatchObject([{ reason: 'no_capable_worker', tasks: [{ executionId: 'a' }] }]);
    expect(windows.low.ids()).toEqual(['b']);
  });

  it('parks nothing while there is no worker at all: nobody is blocked by anybody', () => {
    const windows = windowsOf([['high', 'a', 'unknown']]);
    expect(takeParkable(windows, { isEmpty: true, hasRoom: false, classState: () => 'none' })).toEqual([]);
  });

  it('makes room in a window that is full of blocked tasks while other workers have slots', () => {
    const tasks = Array.from({ length: 10 }, (_, i): [Priority, string, string] => [
      'normal',
      `e${i}`,
      'sql',
    ]);
    const windows = windowsOf(tasks, 10);
    const [parking] = takeParkable(windows, pool);
    expect(parking).toMatchObject({ reason: 'pool_full' });
    expect(parking!.tasks.map(({ executionId }) => executionId)).toEqual(['e5', 'e6', 'e7', 'e8', 'e9']);
  });

  it('does not park what has to be alone: it waits for an empty worker and would be back at once', () => {
    const tasks = Array.from({ length: 10 }, (_, i): [Priority, string, string, boolean] => [
      'normal',
      `e${i}`,
      'sql',
      true,
    ]);
    expect(takeParkable(windowsOf(tasks, 10), pool)).toEqual([]);
  });

  it('leaves a full window alone when no worker has a slot', () => {
    const tasks = Array.from({ length: 10 }, (_, i): [Priority, string, string] => [
      'normal',
      `e${i}`,
      'sql',
    ]);
    expect(takeParkable(windowsOf(tasks, 10), { ...pool, hasRoom: false })).toEqual([]);
  });
});
