/** Throughput: submitted in batches of 1,000, to the last recorded result. */
import { alternate } from '../alternate.mjs';
import { perSecond, rowsOf, timed } from './measure.mjs';

const FIGURE = 'tasks/s';

/** @type {import('./measure.mjs').Measure} */
export const batch = {
  name: 'batch',
  title: 'Throughput: batch submit to recorded result',
  async run({ kinds, surroundings, options: { rounds, flows } }) {
    const results = await alternate({
      kinds,
      surroundings,
      rounds,
      turn: async (contestant, pace) => {
        const count = Math.ceil(flows * pace);
        return perSecond(count, await timed(() => contestant.runBatch(count)));
      },
      say: (rate) => `${Math.round(rate)} ${FIGURE}`,
    });
    return rowsOf(FIGURE, results, (rate) => rate);
  },
  targets: [
    { of: FIGURE, beside: 'BullMQ', atLeast: 1.5 },
    { of: FIGURE, beside: 'Celery', atLeast: 15 },
    { of: FIGURE, beside: 'bare amqplib', atLeast: 0.6 },
  ],
};
