import type { Census } from './census.js';

/** What a class asks of its driver in one round. */
export interface PlannedWish {
  instances: number;
  /** Everybody who is to end; see `PoolWish.retire`. */
  retire: string[];
  /** Those of them who are asked from now on: they must get no new tasks. */
  chosen: string[];
}

/**
 * What the driver has to run so that the class has its size. Live workers that it does not run count as well. Where
 * there are too many, the least busy go first, of those the youngest: what is on its way up goes before what works.
 *
 * @param mayLaunch false during a back-off: then it runs no more than it does
 */
export function planWish(census: Census, desired: number, mayLaunch: boolean): PlannedWish {
  const { serving, foreign, live, ending } = census;
  const wanted = Math.max(0, desired - foreign);
  const held = new Map(live.map((worker) => [worker.workerId, worker.held]));
  const heldBy = ({ workerId }: { workerId: string }): number => held.get(workerId) ?? 0;
  const chosen = serving
    .toSorted((a, b) => heldBy(a) - heldBy(b) || b.startedAtMs - a.startedAtMs)
    .slice(0, Math.max(0, serving.length - wanted))
    .map(({ workerId }) => workerId);
  return {
    instances: mayLaunch ? wanted : Math.min(wanted, serving.length),
    retire: [...chosen, ...ending],
    chosen,
  };
}
