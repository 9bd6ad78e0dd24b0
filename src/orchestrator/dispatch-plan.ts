import { PRIORITIES, type Priority } from '../queue/priority.js';
import type { ParkedReason } from '../store/execution-store.js';
import type { ClassState, WorkerPool } from '../worker/worker-pool.js';
import type { ReadyWindow, WaitingTask } from './ready-window.js';

export type Windows = Record<Priority, ReadyWindow>;

/**
 * The order in which a decision looks at the priorities: strictly by rank, except that every (1 / lowShare)-th
 * decision looks at `low` first, so that low work progresses under a steady stream of higher work.
 *
 * @param decision counts up with every decision
 */
export function priorityOrder(decision: number, lowShare: number): readonly Priority[] {
  const isLowTurn = lowShare > 0 && Math.floor((decision + 1) * lowShare) > Math.floor(decision * lowShare);
  return isLowTurn ? LOW_FIRST : PRIORITIES;
}

const LOW_FIRST: readonly Priority[] = ['low', 'high', 'normal'];

/** Takes the next task that can run now out of the windows; null if none can. */
export function takeRunnable(
  windows: Windows,
  order: readonly Priority[],
  isFree: (requiredTypes: string, solo: boolean) => boolean,
): WaitingTask | null {
  for (const priority of order) {
    const task = windows[priority].takeFirst(isFree);
    if (task) {
      return task;
    }
  }
  return null;
}

/**
 * The task that a worker is to be kept free for: the first that has to be alone, unless one before it competes for the
 * same workers. So keeping a worker free takes no slot from anything that goes first.
 */
export function nextAlone(
  windows: Windows,
  shareWorkers: (requiredTypes: string, otherTypes: string) => boolean,
): WaitingTask | null {
  if (!PRIORITIES.some((priority) => windows[priority].hasSolo)) {
    return null;
  }
  const line = PRIORITIES.flatMap((priority) => windows[priority].waiting());
  const index = line.findIndex(({ solo }) => solo);
  const task = line[index];
  return task && !line.slice(0, index).some((other) => shareWorkers(other.requiredTypes, task.requiredTypes))
    ? task
    : null;
}

/**
 * Whether tasks that are not on record yet will get slots within a second, behind those of the same or a higher rank that
 * wait in the windows for the same workers. Not if one of a lower rank waits there: it would get each slot first, so it is
 * better to wait beside it. Where some wait, the workers are busy, and end what they have ended in the last second. Where
 * none does, that says nothing: they may have been idle. Then the time that their tasks take has to do, which promises too
 * much; what that misleads is in the windows after a second of waiting, and from then on the other number counts.
 *
 * @param waiting how many there are that are not on record
 */
export function isSlotNear(
  { requiredTypes, priority }: { requiredTypes: string; priority: Priority },
  waiting: number,
  windows: Windows,
  pool: Pick<WorkerPool, 'shareWorkers' | 'shortTasksPerS' | 'endedPerS'>,
): boolean {
  const couldEndPerS = pool.shortTasksPerS(requiredTypes);
  if (waiting > couldEndPerS) {
    // Nor is it worth the look through the windows, which may hold thousands of classes that nobody supports.
    return false;
  }
  const beside = (priorities: readonly Priority[]): number =>
    priorities
      .flatMap((each) => windows[each].classes())
      .reduce(
        (sum, each) => sum + (pool.shareWorkers(each.requiredTypes, requiredTypes) ? each.count : 0),
        0,
      );
  const rank = PRIORITIES.indexOf(priority);
  if (beside(PRIORITIES.slice(rank + 1)) > 0) {
    return false;
  }
  const ahead = beside(PRIORITIES.slice(0, rank + 1));
  const perS = ahead === 0 ? couldEndPerS : Math.min(couldEndPerS, pool.endedPerS(requiredTypes));
  return ahead + waiting <= perS;
}

/** Share of a full window that tasks of blocked classes may keep. */
const BLOCKED_SHARE = 0.5;

export interface Parking {
  reason: ParkedReason;
  tasks: WaitingTask[];
}

/**
 * Which tasks leave the windows for the record, because they would block those behind them: all that no live worker
 * supports; and, while a window is full of tasks whose workers are full and other workers have slots, what is more
 * than half a window of them (those that have to be alone stay: they wait for an empty worker, not for a slot, and
 * would be back at once). Nothing is parked while there is no worker at all: then nobody is blocked by anybody.
 */
export function takeParkable(
  windows: Windows,
  pool: { isEmpty: boolean; hasRoom: boolean; classState: (requiredTypes: string) => ClassState },
): Parking[] {
  if (pool.isEmpty) {
    return [];
  }
  const incapable: WaitingTask[] = [];
  const excess: WaitingTask[] = [];
  for (const priority of PRIORITIES) {
    const window = windows[priority];
    incapable.push(...window.takeClasses((requiredTypes) => pool.classState(requiredTypes) === 'none'));
    if (pool.hasRoom && window.isFull) {
      let kept = 0;
      const isBlocked = ({ requiredTypes, solo }: WaitingTask): boolean =>
        !solo && pool.classState(requiredTypes) !== 'free';
      excess.push(
        ...window.takeDeliveries((task) => isBlocked(task) && ++kept > window.capacity * BLOCKED_SHARE),
      );
    }
  }
  return [
    { reason: 'no_capable_worker' as const, tasks: incapable },
    { reason: 'pool_full' as const, tasks: excess },
  ].filter(({ tasks }) => tasks.length > 0);
}
