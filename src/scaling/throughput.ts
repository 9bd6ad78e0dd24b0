/** One worker's counters, as they only ever rise within an incarnation. */
export interface WorkerCounters {
  workerId: string;
  incarnation: string;
  /** Tasks that it has ended, well or badly. */
  tasks: number;
  /** Run time of those tasks, added up. */
  busyMs: number;
  slots: number;
}

/** What one busy worker gets done. */
export interface Throughput {
  /** Null until a task has ended. */
  tasksPerS: number | null;
  atMs: number;
  /** Work waited for the workers at that moment. */
  saturated: boolean;
  counters: ReadonlyMap<string, WorkerCounters>;
}

export const NO_THROUGHPUT: Throughput = {
  tasksPerS: null,
  atMs: 0,
  saturated: false,
  counters: new Map(),
};

/** Weight of the newest measurement: about the last five count. */
const NEWEST_SHARE = 0.3;
/** So many ends a worker between two looks, and its tasks are short: what lies between them counts as much as they do. */
const SHORT_TASKS = 10;

/**
 * An exponentially weighted average over the looks in which tasks ended. A worker with all slots busy ends
 * slots / (run time of a task) tasks a second, whatever share of them was busy when it was measured. Only where work
 * waited all the time and tasks are short is it counted directly: then the time between two tasks is not nothing.
 *
 * @param saturated work waits for these workers now
 */
export function measured(
  before: Throughput,
  workers: readonly WorkerCounters[],
  nowMs: number,
  saturated: boolean,
): Throughput {
  const counters = new Map(workers.map((worker) => [worker.workerId, worker]));
  const newest = rateBetween(before, workers, nowMs, saturated && before.saturated);
  const tasksPerS =
    newest === null || before.tasksPerS === null
      ? (newest ?? before.tasksPerS)
      : before.tasksPerS + NEWEST_SHARE * (newest - before.tasksPerS);
  return { tasksPerS, atMs: nowMs, saturated, counters };
}

function rateBetween(
  before: Throughput,
  workers: readonly WorkerCounters[],
  nowMs: number,
  saturated: boolean,
): number | null {
  let tasks = 0;
  let busyMs = 0;
  let slots = 0;
  for (const worker of workers) {
    const past = before.counters.get(worker.workerId);
    const isSame = past?.incarnation === worker.incarnation;
    tasks += worker.tasks - (isSame ? past.tasks : 0);
    busyMs += worker.busyMs - (isSame ? past.busyMs : 0);
    slots += worker.slots;
  }
  if (tasks <= 0) {
    return null;
  }
  if (saturated && tasks >= SHORT_TASKS * workers.length && nowMs > before.atMs) {
    return (1_000 * tasks) / (workers.length * (nowMs - before.atMs));
  }
  // Run times of 0 ms are below what is measured.
  return (1_000 * tasks * slots) / (workers.length * Math.max(busyMs, tasks));
}
