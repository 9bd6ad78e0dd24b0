import { describe, expect, it } from '@jest/globals';
import {
  priorityOrder,
  takeParkable,
  takeRunnable,
  type Windows,
} from '../../../src/orchestrator/dispatch-plan.js';
import { ReadyWindow, type WaitingTask } from '../../../src/orchestrator/ready-window.js';
import { PRIORITIES, type Priority } from '../../../src/queue/priority.js';

function windowsOf(tasks: [Priority, string, string][], capacity = 10): Windows {
  const windows = Object.fromEntries(
    PRIORITIES.map((priority) => [priority, new ReadyWindow(capacity)]),
  ) as Windows;
  for (const [priority, executionId, requiredTypes] of tasks) {
    windows[priority].push({ priority, executionId, attempt: 1, requiredTypes, sinceMs: 0 } as WaitingTask);
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

describe('parking', () => {
  const pool = { isEmpty: false, hasFreeSlot: true, classState: () => 'full' as const };

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
    expect(takeParkable(windows, { isEmpty: true, hasFreeSlot: false, classState: () => 'none' })).toEqual(
      [],
    );
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

  it('leaves a full window alone when no worker has a slot', () => {
    const tasks = Array.from({ length: 10 }, (_, i): [Priority, string, string] => [
      'normal',
      `e${i}`,
      'sql',
    ]);
    expect(takeParkable(windowsOf(tasks, 10), { ...pool, hasFreeSlot: false })).toEqual([]);
  });
});
