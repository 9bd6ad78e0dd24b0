/**
 * Latency at half of what the product can do. Open loop: a request goes out when its time has come, whether or not
 * earlier ones were answered, and its latency counts from that time. So a stall costs every request that it delays.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { alternate } from '../alternate.mjs';
import { quantile } from '../statistics.mjs';
import { perSecond, rowsOf, timed } from './measure.mjs';

const CONNECTIONS = 64;
const LOAD_SHARE = 0.5;
const TICK_MS = 2;

/** @type {import('./measure.mjs').Measure} */
export const loadedLatency = {
  name: 'loaded-latency',
  title: 'Latency at half of the own maximum',
  async run({ kinds, surroundings, options: { rounds, flows, samples } }) {
    const results = await alternate({
      kinds,
      surroundings,
      rounds,
      turn: async (contestant) => {
        const count = Math.ceil(flows / 4);
        const { drainedMs = 0 } = await contestant.runSingles(count, CONNECTIONS);
        const offered = perSecond(count, drainedMs) * LOAD_SHARE;
        const times = await openLoop(contestant, offered, samples * 5);
        return { offered, p50: quantile(times, 0.5), p99: quantile(times, 0.99) };
      },
      say: ({ offered, p50, p99 }) =>
        `${Math.round(offered)} flows/s offered, p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`,
    });
    return [
      ...rowsOf('flows/s offered', results, ({ offered }) => offered),
      ...rowsOf('p50 ms', results, ({ p50 }) => p50),
      ...rowsOf('p99 ms', results, ({ p99 }) => p99),
    ];
  },
  targets: [],
};

/**
 * @param {import('../contestants/contestant.mjs').Contestant} contestant
 * @param {number} rate requests a second
 * @param {number} count
 * @returns {Promise<number[]>} ms from when each was due to its result
 */
async function openLoop(contestant, rate, count) {
  const startedAt = performance.now();
  /** @type {Promise<number>[]} */
  const answers = [];
  while (answers.length < count) {
    const dueCount = Math.min(count, Math.ceil(((performance.now() - startedAt) / 1_000) * rate));
    while (answers.length < dueCount) {
      const lateMs = performance.now() - (startedAt + (answers.length / rate) * 1_000);
      answers.push(timed(() => contestant.requestReply(answers.length)).then((ms) => ms + lateMs));
    }
    await sleep(TICK_MS);
  }
  return Promise.all(answers);
}
