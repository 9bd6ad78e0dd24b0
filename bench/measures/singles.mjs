/** One request a flow, 64 connections: how fast they are accepted, and how fast they are through. */
import { alternate } from '../alternate.mjs';
import { perSecond, rowsOf } from './measure.mjs';

const CONNECTIONS = 64;
const ACCEPTED = 'submits/s';

/** @type {import('./measure.mjs').Measure} */
export const singles = {
  name: 'singles',
  title: `Single HTTP submits, ${CONNECTIONS} connections`,
  async run({ kinds, surroundings, options: { rounds, flows } }) {
    const count = Math.ceil(flows / 2);
    const results = await alternate({
      kinds,
      surroundings,
      rounds,
      turn: async (contestant) => {
        const { acceptedMs, drainedMs } = await contestant.runSingles(count, CONNECTIONS);
        return {
          accepted: perSecond(count, acceptedMs),
          drained: drainedMs === undefined ? undefined : perSecond(count, drainedMs),
        };
      },
      say: ({ accepted, drained }) =>
        `${Math.round(accepted)} ${ACCEPTED}${drained ? `, ${Math.round(drained)} results/s` : ''}`,
    });
    return [
      ...rowsOf(ACCEPTED, results, ({ accepted }) => accepted),
      ...rowsOf('results/s', results, ({ drained }) => drained),
    ];
  },
  targets: [{ of: ACCEPTED, beside: 'bare Fastify', atLeast: 0.6 }],
};
