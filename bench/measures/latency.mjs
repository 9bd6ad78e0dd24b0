/** One request after the other on an otherwise idle installation: from the submit to the result in hand. */
import { alternate } from '../alternate.mjs';
import { quantile } from '../statistics.mjs';
import { rowsOf, timed } from './measure.mjs';

const P50 = 'p50 ms';
const P99 = 'p99 ms';

/** @type {import('./measure.mjs').Measure} */
export const latency = {
  name: 'latency',
  title: 'Latency at low load: one request after the other',
  async run({ kinds, surroundings, options: { rounds, samples } }) {
    const results = await alternate({
      kinds,
      surroundings,
      rounds,
      turn: async (contestant) => {
        const times = await sample(contestant, samples);
        return { p50: quantile(times, 0.5), p99: quantile(times, 0.99) };
      },
      say: ({ p50, p99 }) => `p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`,
    });
    return [...rowsOf(P50, results, ({ p50 }) => p50), ...rowsOf(P99, results, ({ p99 }) => p99)];
  },
  targets: [
    { of: P50, beside: 'BullMQ', atMost: 1.5 },
    { of: P99, beside: 'BullMQ', atMost: 1.5 },
  ],
};

/**
 * @param {import('../contestants/contestant.mjs').Contestant} contestant
 * @param {number} count
 */
async function sample(contestant, count) {
  const times = [];
  for (let seq = 0; seq < count; seq++) times.push(await timed(() => contestant.requestReply(seq)));
  return times;
}
