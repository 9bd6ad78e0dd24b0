/**
 * How long a high-priority flow takes while low ones have every slot: with hardly any behind them, and with very many.
 * The low ones take a second on average, so slots get free at the same pace in both cases.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CONCURRENCY, WORKERS } from '../contestants/contestant.mjs';
import { flowRequest } from '../contestants/product.mjs';
import { payload } from '../payload.mjs';
import { median } from '../statistics.mjs';
import { inParallel, untilCount } from '../waiting.mjs';
import { timed } from './measure.mjs';

const SLOTS = CONCURRENCY * WORKERS;
/** Waiting low flows after each top-up: more than the slots that get free until the next one. */
const SHORT_QUEUE = 90;
const TOP_UP_MS = 250;
const LOW_MS = { least: 500, most: 1_500 };
const PAUSE_MS = 20;
const SETTLE_MS = 2 * LOW_MS.most;
const FULL_SAMPLES = 100;
const QUICK_SAMPLES = 10;
const BATCH = 1_000;

const IDLE = 'ms, nothing else runs';
const SHORT = 'ms, all slots taken, queue nearly empty';
const LONG = 'ms, all slots taken, long low queue';

/** @typedef {import('../contestants/product.mjs').Product} Product */

/** @type {import('./measure.mjs').Measure} */
export const priority = {
  name: 'priority',
  title: 'A high-priority flow behind low ones: submit to result',
  async run({ kinds, surroundings, options: { backlog, quick } }) {
    const { log } = surroundings;
    const rows = [];
    for (const kind of kinds) {
      const product = /** @type {Product} */ (await kind.start(surroundings));
      let highDone = 0;
      const measure = async (/** @type {string} */ figure) => {
        const times = await sampleHigh(product, quick ? QUICK_SAMPLES : FULL_SAMPLES, () => highDone++);
        const value = median(times);
        log(`  ${product.name}: ${value.toFixed(1)} ${figure}`);
        rows.push({ contestant: product.name, figure, value });
      };
      await sampleHigh(product, QUICK_SAMPLES, () => {});
      await measure(IDLE);
      const stop = keepBusy(product, () => highDone);
      await sleep(SETTLE_MS);
      await measure(SHORT);
      await stop();
      await pileUp(product, backlog, log);
      await measure(LONG);
      await product.stop();
    }
    return rows;
  },
  targets: [{ of: LONG, against: SHORT, atMost: 2 }],
};

function lowFlow() {
  const ms = Math.round(LOW_MS.least + Math.random() * (LOW_MS.most - LOW_MS.least));
  const flow = flowRequest(payload(0), 1, { priority: 'low' });
  return { ...flow, flowData: { ...flow.flowData, nodes: [{ id: 'n1', type: 'delay', config: { ms } }] } };
}

/**
 * @param {Product} product
 * @param {number} count
 * @param {() => void} onEnd
 */
async function sampleHigh(product, count, onEnd) {
  const times = [];
  for (let seq = 0; seq < count; seq++) {
    times.push(await timed(() => product.runFlow(flowRequest(payload(seq), 1, { priority: 'high' }))));
    onEnd();
    await sleep(PAUSE_MS);
  }
  return times;
}

/**
 * Keeps every slot taken and less than a hundred low flows waiting: tops them up four times a second.
 *
 * @param {Product} product
 * @param {() => number} highDone high flows that ended since the start
 * @returns {() => Promise<void>} lets the last ones end
 */
function keepBusy(product, highDone) {
  const ending = new AbortController();
  let submitted = 0;
  const topUp = async () => {
    const [before, highBefore] = [await product.completed(), highDone()];
    while (!ending.signal.aborted) {
      const lowDone = (await product.completed()) - before - (highDone() - highBefore);
      const wanted = SLOTS + SHORT_QUEUE - (submitted - lowDone);
      if (wanted > 0) await product.submitBatch(Array.from({ length: wanted }, lowFlow));
      submitted += Math.max(0, wanted);
      await sleep(TOP_UP_MS);
    }
    const target = before + submitted + highDone() - highBefore;
    await untilCount({ what: 'low flows', read: product.completed, target });
  };
  const toppingUp = topUp();
  // Whoever stops it learns of a failure.
  toppingUp.catch(() => {});
  return () => {
    ending.abort();
    return toppingUp;
  };
}

/**
 * @param {Product} product
 * @param {number} count
 * @param {(message: string) => void} log
 */
async function pileUp(product, count, log) {
  const batches = Array.from({ length: Math.ceil(count / BATCH) }, (_, index) =>
    Math.min(BATCH, count - index * BATCH),
  );
  let submitted = 0;
  await inParallel(2, batches, async (size) => {
    await product.submitBatch(Array.from({ length: size }, lowFlow));
    submitted += size;
    if (submitted % (BATCH * 20) === 0) log(`  ${submitted} low flows submitted`);
  });
}
