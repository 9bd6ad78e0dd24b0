import { describe, expect, it } from '@jest/globals';
import { DispatchingView } from '../../../src/orchestrator/dispatching-view.js';
import { ReadyWindow, type WaitingTask } from '../../../src/orchestrator/ready-window.js';

describe('what scaling sees of what waits', () => {
  it('is what is in line and what is not on record yet, by class', () => {
    const windows = { high: new ReadyWindow(10), normal: new ReadyWindow(10), low: new ReadyWindow(10) };
    const task = { executionId: 'e', attempt: 1, solo: false, needsSlot: false, sinceMs: 0 };
    windows.high.push({ ...task, requiredTypes: 'log', priority: 'high' } as WaitingTask);
    windows.low.push({ ...task, requiredTypes: 'log', priority: 'low' } as WaitingTask);
    const waitingKinds = () => [
      { requiredTypes: 'log', count: 3 },
      { requiredTypes: 'http', count: 2 },
    ];
    const view = new DispatchingView({} as never, { windows } as never, { waitingKinds } as never);
    expect(view.waitingKinds()).toEqual([
      { requiredTypes: 'log', count: 5 },
      { requiredTypes: 'http', count: 2 },
    ]);
  });
});
