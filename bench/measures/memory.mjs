/** Memory of the orchestrator while flows pile up and nobody runs them. */
import { setTimeout as sleep } from 'node:timers/promises';
import { flowRequest, nameOf, startProduct } from '../contestants/product.mjs';
import { payloadBatches } from '../payload.mjs';
import { residentMb } from '../process-use.mjs';
import { inParallel } from '../waiting.mjs';

const DEPTHS = [
  { share: 0.01, figure: 'MB, 1 % queued' },
  { share: 0.1, figure: 'MB, 10 % queued' },
  { share: 0.25, figure: 'MB, 25 % queued' },
  { share: 0.5, figure: 'MB, 50 % queued' },
  { share: 1, figure: 'MB, all queued' },
];
const BATCHES_AT_ONCE = 2;
const CALM_MS = 5_000;
const QUICK_CALM_MS = 500;
const STEP = 50_000;

/** @type {import('./measure.mjs').Measure} */
export const memory = {
  name: 'memory',
  title: 'Resident memory of the orchestrator with a long queue',
  async run({ surroundings, options: { stores, queued, quick } }) {
    const { log } = surroundings;
    const rows = [];
    for (const store of stores) {
      const product = await startProduct(surroundings, { store, workers: 0 });
      const { orchestrator } = await product.roots();
      let submitted = 0;
      for (const { share, figure } of DEPTHS) {
        for (const target = Math.ceil(queued * share); submitted < target;) {
          const count = Math.min(STEP, target - submitted);
          await submit(product, count);
          submitted += count;
          log(`  ${nameOf(store)}: ${submitted} queued`);
        }
        // What is measured is what waiting costs, not what submitting costs.
        await sleep(quick ? QUICK_CALM_MS : CALM_MS);
        const value = residentMb(orchestrator[0]);
        log(`  ${nameOf(store)}: ${value.toFixed(0)} ${figure}`);
        rows.push({ contestant: nameOf(store), figure, value });
      }
      await product.stop();
    }
    return rows;
  },
  targets: [
    { of: 'MB, all queued', atMost: 250 },
    { of: 'MB, all queued', against: 'MB, 10 % queued', atMost: 1.2 },
  ],
};

/**
 * @param {import('../contestants/product.mjs').Product} product
 * @param {number} count
 */
function submit(product, count) {
  return inParallel(BATCHES_AT_ONCE, payloadBatches(count), (batch) =>
    product.submitBatch(batch.map((inputs) => flowRequest(inputs))),
  );
}
