import { expect, it } from '@jest/globals';
import { Announcer, type Begun } from '../../../src/runtime/announcer.js';

interface Task extends Begun {
  name: string;
}

it('says once of a task that it runs, not before it has for 25 ms, and never of one that ended sooner', async () => {
  const tasks: Task[] = [];
  const announced: { name: string; afterMs: number }[] = [];
  let told = (): void => undefined;
  const announcer = new Announcer<Task>(
    () => tasks,
    ({ name, startMs }) => {
      announced.push({ name, afterMs: performance.now() - startMs });
      told();
    },
  );
  const begin = (name: string): Promise<void> => {
    tasks.push({ name, isRunning: true, isAnnounced: false, startMs: performance.now() });
    announcer.begun();
    return new Promise((resolve) => (told = resolve));
  };
  void begin('ends at once');
  tasks[0]!.isRunning = false;
  await begin('goes on');
  await begin('comes later');
  expect(announced.map(({ name }) => name)).toEqual(['goes on', 'comes later']);
  // A timer may fire a little early by another clock.
  expect(announced.every(({ afterMs }) => afterMs >= 24)).toBe(true);
});
