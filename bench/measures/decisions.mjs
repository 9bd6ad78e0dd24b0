/**
 * What a decision of the dispatcher costs as the pool grows: choose a worker, take a slot there, free an older one.
 * In this process, with the built pool alone: no broker, no record.
 */
import { rowsOf } from './measure.mjs';

const POOL_SIZES = [10, 100, 1_000];
const SLOTS = 10;
const DECISIONS = 200_000;
const figure = (/** @type {number} */ workers) => `µs a decision, ${workers} workers`;

/** @type {import('./measure.mjs').Measure} */
export const decisions = {
  name: 'decisions',
  title: 'Dispatch decisions, in process',
  async run({ surroundings: { log }, options: { rounds, quick } }) {
    const { WorkerPool } = await import('../../dist/worker/worker-pool.js');
    const { LeastBusy } = await import('../../dist/worker/selection/least-busy.js');
    const count = quick ? DECISIONS / 100 : DECISIONS;
    const turns = [];
    for (let round = -1; round < rounds; round++) {
      const costs = POOL_SIZES.map((workers) => {
        const strategy = new LeastBusy(Math.random);
        const pool = new WorkerPool({ strategy, loadLimitPercent: 80, now: () => performance.now() });
        return decisionCostUs(pool, workers, count);
      });
      log(`  round ${round + 1}: ${costs.map((cost) => `${cost.toFixed(2)} µs`).join(', ')}`);
      // The first pass only warms the code up.
      if (round >= 0) turns.push(costs);
    }
    const results = [{ name: 'product, in process', turns }];
    return POOL_SIZES.flatMap((workers, index) => rowsOf(figure(workers), results, (costs) => costs[index]));
  },
  targets: [{ of: figure(1_000), against: figure(10), atMost: 3 }],
};

/**
 * @param {import('../../src/worker/worker-pool.js').WorkerPool} pool
 * @param {number} workers
 * @param {number} count
 */
function decisionCostUs(pool, workers, count) {
  for (let index = 0; index < workers; index++) {
    pool.setLifecycle(pool.register(registration(index)), 'ready');
  }
  // Half of the slots stay taken.
  const held = (workers * SLOTS) / 2;
  const decide = (/** @type {number} */ seq) => {
    const worker = pool.pick('data-filter,log');
    if (!worker) throw new Error(`Expected a free worker for decision ${seq}, got none.`);
    pool.hold(`e-${seq}`, 1, worker.workerId);
  };
  for (let seq = 0; seq < held; seq++) decide(seq);
  const startedAt = performance.now();
  for (let seq = held; seq < held + count; seq++) {
    decide(seq);
    pool.release(`e-${seq - held}`, 1);
  }
  return ((performance.now() - startedAt) * 1_000) / count;
}

/**
 * Workers of three kinds, all of which can run the flow.
 *
 * @param {number} index
 */
function registration(index) {
  const extra = [[], ['http-request'], ['postgresql-query']][index % 3] ?? [];
  return {
    workerId: `worker-${index}`,
    hostname: 'bench',
    capacity: {
      maxConcurrentFlows: SLOTS,
      maxConcurrentNodes: SLOTS,
      memoryLimitMB: 1_024,
      cpuLimitCores: 1,
    },
    supportedNodeTypes: ['data-filter', 'data-transform', 'delay', 'log', ...extra],
    incarnation: 'bench',
    heldExecutionIds: [],
  };
}
