/** What the simulator compares: this product's decision, and scaling by queue depth alone. */

/** @typedef {import('./simulator.mjs').Scaler} Scaler */
/** @typedef {import('./simulator.mjs').Observation} Observation */
/** @typedef {import('./simulator.mjs').Pool} Pool */

/** The defaults of the variables of the same names. */
export const DEFAULT_POLICY = {
  scaleUpLoad: 0.7,
  scaleDownLoad: 0.3,
  queueHighWaterMark: 1_000,
  queueLowWaterMark: 100,
  scalingCooldownMs: 15_000,
  scaleDownStabilizationMs: 300_000,
  scalingDrainTargetMs: 60_000,
};
const INTERVAL_MS = 10_000;

/**
 * @param {string} name
 * @param {typeof import('../../src/scaling/decision.js')} core `src/scaling/decision.ts`, built or not
 * @param {Pool} pool
 * @param {typeof DEFAULT_POLICY} [policy]
 * @returns {Scaler}
 */
export function productScaler(
  name,
  { decide, NO_MEMORY },
  { minWorkers, maxWorkers },
  policy = DEFAULT_POLICY,
) {
  let memory = NO_MEMORY;
  return {
    name,
    intervalMs: INTERVAL_MS,
    next(seen) {
      const tasks =
        seen.liveWorkers > 0
          ? { queuedTasks: seen.waiting, unmetTasks: 0 }
          : { queuedTasks: 0, unmetTasks: seen.waiting };
      const made = decide({ ...seen, ...tasks, minWorkers, maxWorkers, paused: false }, policy, memory);
      memory = made.memory;
      return made.decision.desired;
    },
  };
}

const HPA_SYNC_MS = 15_000;
const HPA_TOLERANCE = 0.1;
const HPA_STABILIZATION_MS = 300_000;

/**
 * KEDA's way: an HPA with an average value as its target, and HPA's defaults: a look each 15 s, tolerance 0.1, up by 4
 * or to the double in 15 s, down to the highest recommendation of 300 s without a limit of rate.
 *
 * @param {string} name
 * @param {(seen: Observation) => number} depthOf what counts as the queue's depth
 * @param {number} tasksPerWorker the target
 * @param {Pool} pool
 * @returns {Scaler}
 */
export function depthScaler(name, depthOf, tasksPerWorker, { minWorkers, maxWorkers }) {
  /** @type {{ atMs: number, workers: number }[] | null} */
  let recommendations = null;
  return {
    name,
    intervalMs: HPA_SYNC_MS,
    next(seen) {
      const { nowMs, desired } = seen;
      const ratio = depthOf(seen) / (tasksPerWorker * desired);
      const workers =
        Math.abs(1 - ratio) <= HPA_TOLERANCE ? desired : Math.ceil(depthOf(seen) / tasksPerWorker);
      recommendations = [
        ...(recommendations ?? [{ atMs: nowMs, workers: desired }]),
        { atMs: nowMs, workers },
      ].filter(({ atMs }) => nowMs - atMs < HPA_STABILIZATION_MS);
      const highest = Math.max(...recommendations.map((made) => made.workers));
      const stable = workers < desired ? Math.min(desired, highest) : workers;
      const reachable = Math.min(stable, Math.max(desired + 4, desired * 2));
      return Math.min(maxWorkers, Math.max(minWorkers, reachable));
    },
  };
}

/**
 * The ones that are compared. For 5 slots a worker, the last is the oracle's own formula.
 *
 * @param {typeof import('../../src/scaling/decision.js')} core
 * @param {Pool} pool
 * @returns {(() => Scaler)[]} each makes a scaler that remembers nothing yet
 */
export function comparedScalers(core, pool) {
  const { slots } = pool;
  const tuned = { ...DEFAULT_POLICY, scalingCooldownMs: INTERVAL_MS, scaleDownLoad: 0.6 };
  return [
    () => productScaler('this product', core, pool),
    () => productScaler('this product, tuned', core, pool, tuned),
    () => depthScaler('depth: waiting ÷ 20', ({ waiting }) => waiting, 20, pool),
    () =>
      depthScaler(
        `depth: waiting and running ÷ ${slots}`,
        ({ waiting, running }) => waiting + running,
        slots,
        pool,
      ),
  ];
}
