/** CPU time of every process that a thousand tasks need, from /proc. */
import { alternate } from '../alternate.mjs';
import { cpuMs } from '../process-use.mjs';
import { rowsOf } from './measure.mjs';

const TASKS = 1_000;

/** @type {import('./measure.mjs').Measure} */
export const cpu = {
  name: 'cpu',
  title: 'CPU seconds per 1,000 tasks, by process',
  async run({ kinds, surroundings, options: { rounds, flows } }) {
    const results = await alternate({
      kinds,
      surroundings,
      rounds,
      turn: async (contestant, pace) => {
        const count = Math.ceil(flows * pace);
        const roots = await contestant.roots();
        const before = spent(roots);
        await contestant.runBatch(count);
        const after = spent(roots);
        const perThousand = (/** @type {string} */ role) =>
          ((after[role] - before[role]) / 1_000 / count) * TASKS;
        return Object.fromEntries(Object.keys(roots).map((role) => [role, perThousand(role)]));
      },
      say: (turn) =>
        Object.entries(turn)
          .map(([role, seconds]) => `${role} ${seconds.toFixed(3)}`)
          .join(', '),
    });
    const roles = new Set(results.flatMap(({ turns }) => turns.flatMap((turn) => Object.keys(turn))));
    return [...roles].flatMap((role) => rowsOf(`CPU s, ${role}`, results, (turn) => turn[role]));
  },
  targets: [],
};

/** @param {Record<string, number[]>} roots */
function spent(roots) {
  return Object.fromEntries(Object.entries(roots).map(([role, pids]) => [role, cpuMs(pids)]));
}
