import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { ReadyWindow, type WaitingTask } from '../../../src/orchestrator/ready-window.js';

const DELIVERY = {} as NonNullable<WaitingTask['delivery']>;

interface Given {
  id: string;
  types?: string;
  solo?: boolean;
  needsSlot?: boolean;
  sinceMs?: number;
  /** False = it came with a message. Default true. */
  own?: boolean;
  bytes?: number;
}

function taskOf({
  id,
  types = 'delay',
  solo = false,
  needsSlot = false,
  sinceMs = 0,
  own = true,
  bytes = 10,
}: Given): WaitingTask {
  return {
    executionId: id,
    attempt: 1,
    priority: 'normal',
    requiredTypes: types,
    solo,
    needsSlot,
    content: Buffer.alloc(bytes),
    delivery: own ? null : DELIVERY,
    sinceMs,
  };
}

/** A window whose clock the test moves. */
function clocked(capacity: number) {
  const clock = { ms: 0 };
  return { clock, window: new ReadyWindow(capacity, () => clock.ms) };
}

const any = (): boolean => true;
const namesOf = (tasks: readonly WaitingTask[]): string[] => tasks.map(({ executionId }) => executionId);

describe('a ready window', () => {
  it('gives the oldest of all classes first, and passes over a class that nobody wants', () => {
    const { window } = clocked(10);
    window.push(taskOf({ id: 'a1', types: 'a', sinceMs: 1 }));
    window.push(taskOf({ id: 'b1', types: 'b', sinceMs: 2, own: false }));
    window.push(taskOf({ id: 'a2', types: 'a', sinceMs: 3 }));
    window.push(taskOf({ id: 'alone', types: 'a', solo: true, sinceMs: 4 }));
    expect(window.takeFirst((types) => types === 'b')?.executionId).toBe('b1');
    expect(window.takeFirst((_types, solo) => solo)?.executionId).toBe('alone');
    expect([1, 2, 3].map(() => window.takeFirst(any)?.executionId)).toEqual(['a1', 'a2', undefined]);
  });

  it('is full by deliveries alone, whether they wait or are in flight', () => {
    const { window, clock } = clocked(2);
    for (let index = 0; index < 100; index++) {
      window.push(taskOf({ id: `own-${index}` }));
    }
    window.push(taskOf({ id: 'one', own: false, types: 'b' }));
    expect(window).toMatchObject({ isFull: false, showsAll: true, size: 101, ownWaiting: 100 });
    window.push(taskOf({ id: 'two', own: false, types: 'b' }));
    expect(window).toMatchObject({ isFull: true, showsAll: false, takesOwn: false });
    const taken = window.takeFirst((types) => types === 'b')!;
    expect(window).toMatchObject({ isFull: true, size: 101 });
    window.settled(taken);
    expect(window.isFull).toBe(false);
    clock.ms += 1_000;
    expect(window.showsAll).toBe(true);
  });

  it('may hide more for a moment after it was full: what the broker sends next is on its way', () => {
    const { window, clock } = clocked(1);
    window.push(taskOf({ id: 'a', own: false }));
    clock.ms = 10_000;
    window.settled(window.takeFirst(any)!);
    expect(window).toMatchObject({ isFull: false, showsAll: false, takesOwn: false });
    clock.ms += 249;
    expect(window.showsAll).toBe(false);
    clock.ms += 1;
    expect(window).toMatchObject({ showsAll: true, takesOwn: true });
  });

  it('takes tasks of its own up to 20,000, and with their content up to 4 MiB', () => {
    const many = clocked(4).window;
    for (let index = 0; index < 20_000; index++) {
      expect(many.takesOwn).toBe(true);
      many.push(taskOf({ id: String(index) }));
    }
    expect(many).toMatchObject({ takesOwn: false, showsAll: true });
    many.takeFirst(any);
    expect(many.takesOwn).toBe(true);

    const large = clocked(4).window;
    for (let index = 0; index < 16; index++) {
      expect(large.takesContent).toBe(true);
      large.push(taskOf({ id: String(index), bytes: 262_144 }));
    }
    expect(large).toMatchObject({ takesContent: false, takesOwn: true });
    large.push({ ...taskOf({ id: 'later' }), content: null });
    large.putBack(large.takeFirst(any)!);
    expect(large.takesContent).toBe(false);
    large.takeFirst(any);
    expect(large.takesContent).toBe(true);
  });

  it('puts back before what came later, in whatever order they come back', () => {
    const { window } = clocked(10);
    ['a', 'b', 'c', 'd'].forEach((id, index) => window.push(taskOf({ id, sinceMs: index })));
    const [a, b, c] = [1, 2, 3].map(() => window.takeFirst(any)!) as [WaitingTask, WaitingTask, WaitingTask];
    window.putBack(b);
    window.putBack(c);
    window.putBack(a);
    expect(window.ids()).toEqual(['a', 'b', 'c', 'd']);
    expect([1, 2, 3, 4].map(() => window.takeFirst(any)!.executionId)).toEqual(['a', 'b', 'c', 'd']);
  });

  it('puts back those of one instant in the order in which they were taken', () => {
    const { window } = clocked(10);
    ['a', 'b', 'c'].forEach((id) => window.push(taskOf({ id })));
    const taken = [window.takeFirst(any)!, window.takeFirst(any)!];
    taken.toReversed().forEach((task) => window.putBack(task));
    expect(window.ids()).toEqual(['a', 'b', 'c']);
  });

  it('forgets deliveries with their channel, and keeps its own', () => {
    const { window } = clocked(2);
    window.push(taskOf({ id: 'own' }));
    window.push(taskOf({ id: 'lost', own: false }));
    window.push(taskOf({ id: 'flying', own: false, types: 'b' }));
    const flying = window.takeFirst((types) => types === 'b')!;
    window.clearDeliveries();
    expect(window.ids()).toEqual(['own']);
    expect(window.isFull).toBe(false);
    window.settled(flying);
    expect(window).toMatchObject({ size: 1, ownWaiting: 1 });
  });

  it('answers its own when it is emptied', () => {
    const { window } = clocked(10);
    window.push(taskOf({ id: 'late', sinceMs: 2 }));
    window.push(taskOf({ id: 'delivered', sinceMs: 1, own: false }));
    window.push(taskOf({ id: 'early', sinceMs: 0, types: 'b' }));
    expect(namesOf(window.clear())).toEqual(['early', 'late']);
    expect(window).toMatchObject({ size: 0, ownWaiting: 0, takesOwn: true });
    expect(window.waiting()).toEqual([]);
  });

  it('knows its own until they are settled or with a worker, also while they are in flight', () => {
    const { window } = clocked(10);
    ['a', 'b', 'c', 'd'].forEach((id, index) => window.push(taskOf({ id, sinceMs: index })));
    window.push(taskOf({ id: 'delivered', sinceMs: 4, own: false }));
    const [moved, settled, back] = [1, 2, 3].map(() => window.takeFirst(any)!);
    expect(namesOf(window.ownTasks())).toEqual(['a', 'b', 'c', 'd']);
    window.disown(moved!);
    window.settled(settled!);
    window.putBack(back!);
    expect(namesOf(window.ownTasks())).toEqual(['c', 'd']);
    window.settled(moved!);
    window.takeFirst(any);
    window.clear();
    expect(window.ownTasks()).toEqual([]);
  });

  it('counts the characters of a task that is encoded when it goes', () => {
    const { window } = clocked(4);
    const task = taskOf({ id: 'a' });
    const request = 'x'.repeat(4_194_304);
    window.push({
      ...task,
      content: { ...task, flowId: 'f', maxAttempts: 1, timeoutMs: 1, request },
    });
    expect(window.takesContent).toBe(false);
    window.takeFirst(any);
    expect(window.takesContent).toBe(true);
  });

  it('takes out whole classes, and deliveries one by one', () => {
    const { window } = clocked(10);
    window.push(taskOf({ id: 'a1', types: 'a', sinceMs: 0 }));
    window.push(taskOf({ id: 'b1', types: 'b', sinceMs: 1, own: false }));
    window.push(taskOf({ id: 'a2', types: 'a', sinceMs: 2, own: false }));
    expect(window.classes()).toEqual([
      { requiredTypes: 'a', count: 2 },
      { requiredTypes: 'b', count: 1 },
    ]);
    expect(namesOf(window.takeDeliveries(({ requiredTypes }) => requiredTypes === 'a'))).toEqual(['a2']);
    expect(namesOf(window.takeClasses((types) => types === 'a'))).toEqual(['a1']);
    expect(window.ids()).toEqual(['b1']);
    expect(window.oldestDeliveryMs).toBe(1);
  });
});

describe('a ready window beside a plain list', () => {
  const CAPACITY = 5;
  const TYPES = ['a', 'b', 'c'];
  const steps = fc.array(
    fc.oneof(
      fc.record({
        do: fc.constant('push' as const),
        types: fc.constantFrom(...TYPES),
        solo: fc.boolean(),
        needsSlot: fc.boolean(),
        own: fc.boolean(),
      }),
      fc.record({ do: fc.constant('take' as const), free: fc.subarray(TYPES) }),
      fc.record({ do: fc.constant('back' as const), which: fc.nat() }),
      fc.record({ do: fc.constant('settle' as const), which: fc.nat() }),
      fc.record({ do: fc.constant('takeClasses' as const), free: fc.subarray(TYPES) }),
      fc.record({ do: fc.constant('takeDeliveries' as const), free: fc.subarray(TYPES) }),
      fc.record({ do: fc.constant('lose' as const) }),
      fc.record({ do: fc.constant('clear' as const) }),
    ),
    { maxLength: 200 },
  );

  it('has the same tasks in the same order, and counts what is in flight', () => {
    fc.assert(
      fc.property(steps, (run) => {
        const window = new ReadyWindow(CAPACITY);
        let waiting: WaitingTask[] = [];
        const flying: WaitingTask[] = [];
        const takeOut = (wanted: (task: WaitingTask) => boolean): WaitingTask[] => {
          const taken = waiting.filter(wanted);
          waiting = waiting.filter((task) => !taken.includes(task));
          flying.push(...taken);
          return taken;
        };
        run.forEach((step, index) => {
          switch (step.do) {
            case 'push': {
              const task = taskOf({ ...step, id: String(index), sinceMs: index });
              waiting.push(task);
              window.push(task);
              break;
            }
            case 'take': {
              const expected = waiting.find(({ requiredTypes }) => step.free.includes(requiredTypes)) ?? null;
              expect(window.takeFirst((types) => step.free.includes(types))).toBe(expected);
              takeOut((task) => task === expected);
              break;
            }
            case 'back':
            case 'settle': {
              const [task] = flying.length > 0 ? flying.splice(step.which % flying.length, 1) : [];
              if (task && step.do === 'back') {
                waiting = [...waiting, task].toSorted((one, other) => one.sinceMs - other.sinceMs);
                window.putBack(task);
              } else if (task) {
                window.settled(task);
              }
              break;
            }
            case 'takeClasses': {
              const taken = window.takeClasses((types) => step.free.includes(types));
              const expected = takeOut(({ requiredTypes }) => step.free.includes(requiredTypes));
              expect(new Set(taken)).toEqual(new Set(expected));
              break;
            }
            case 'takeDeliveries': {
              const isWanted = ({ requiredTypes }: WaitingTask): boolean => step.free.includes(requiredTypes);
              const taken = window.takeDeliveries(isWanted);
              expect(taken).toEqual(takeOut((task) => task.delivery !== null && isWanted(task)));
              break;
            }
            case 'lose':
              window.clearDeliveries();
              waiting = waiting.filter(({ delivery }) => delivery === null);
              break;
            case 'clear':
              expect(window.clear()).toEqual(waiting.filter(({ delivery }) => delivery === null));
              waiting = [];
              break;
          }
          const withMessage = [...waiting, ...flying].filter(({ delivery }) => delivery !== null);
          expect(window.waiting()).toEqual(waiting);
          expect(window.size).toBe(waiting.length);
          expect(window.ownWaiting).toBe(waiting.filter(({ delivery }) => delivery === null).length);
          expect(window.isFull).toBe(withMessage.length >= CAPACITY);
          expect(window.hasSolo).toBe(waiting.some(({ solo }) => solo));
          for (const each of TYPES) {
            const slotted = waiting.some(
              ({ requiredTypes, needsSlot }) => requiredTypes === each && needsSlot,
            );
            expect(window.hasSlotted((types) => types === each)).toBe(slotted);
          }
        });
      }),
      { numRuns: 100 },
    );
  });
});
