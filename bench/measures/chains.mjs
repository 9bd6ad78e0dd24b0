/** Flows of three nodes, one after the other; for BullMQ, a job with a child with a child. */
import { alternate } from '../alternate.mjs';
import { perSecond, rowsOf, timed } from './measure.mjs';

const FIGURE = 'flows/s';

/** @type {import('./measure.mjs').Measure} */
export const chains = {
  name: 'chains',
  title: 'Flows of three nodes: batch submit to recorded result',
  async run({ kinds, surroundings, options: { rounds, flows } }) {
    const count = Math.ceil(flows / 2);
    const results = await alternate({
      kinds,
      surroundings,
      rounds,
      turn: async (contestant) => perSecond(count, await timed(() => contestant.runChains(count))),
      say: (rate) => `${Math.round(rate)} ${FIGURE}`,
    });
    return rowsOf(FIGURE, results, (rate) => rate);
  },
  targets: [{ of: FIGURE, beside: 'BullMQ', atLeast: 3 }],
};
