import type { PoolWish, WorkerInstance } from '../worker-driver.js';

export interface ProcessPlan {
  /** Workers of the class to start. */
  starts: number;
  /** Ids to ask to end. */
  retire: string[];
}

/** What a wish asks for beyond what runs. It never ends anyone who is not named. */
export function planFor(
  { workerClass, instances, retire }: PoolWish,
  running: readonly WorkerInstance[],
): ProcessPlan {
  const named = new Set(retire);
  const staying = running.filter(({ retiring, workerId }) => !retiring && !named.has(workerId));
  const ofClass = staying.filter((worker) => worker.workerClass === workerClass.name);
  return {
    starts: Math.max(0, instances - ofClass.length),
    retire: running
      .filter(({ retiring, workerId }) => !retiring && named.has(workerId))
      .map(({ workerId }) => workerId),
  };
}
