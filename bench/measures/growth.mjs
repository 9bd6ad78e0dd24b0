/** What a long history costs: the same work on an empty record and on one that holds millions of ended executions. */
import { fileURLToPath } from 'node:url';
import { alternate } from '../alternate.mjs';
import { nameOf, startProduct } from '../contestants/product.mjs';
import { filledId } from '../roles/fill-record.mjs';
import { median } from '../statistics.mjs';
import { perSecond, timed } from './measure.mjs';

const FILL = fileURLToPath(new URL('../roles/fill-record.mjs', import.meta.url));
const READS = 200;
const FIGURES = /** @type {const} */ (['flows/s', 'ms a list page', 'ms a get']);
const EMPTY = 'empty record';
const FULL = 'full record';

/** @type {import('./measure.mjs').Measure} */
export const growth = {
  name: 'growth',
  title: 'An empty record and a full one',
  async run({ surroundings, options: { stores, rounds, flows, rows } }) {
    const results = [];
    for (const store of stores) {
      const turns = await alternate({
        kinds: [emptyKind(store), fullKind(store, rows)],
        surroundings,
        rounds,
        turn: async (product) => {
          const ms = await timed(() => product.runBatch(flows));
          await surroundings.settle();
          return { 'flows/s': perSecond(flows, ms), ...(await readTimes(product, rows)) };
        },
        say: (turn) => FIGURES.map((figure) => `${turn[figure].toFixed(1)} ${figure}`).join(', '),
      });
      results.push(...turns.flatMap(({ name, turns }) => toRows(nameOf(store), name, turns)));
    }
    return results;
  },
  targets: [
    { of: `flows/s, ${FULL}`, against: `flows/s, ${EMPTY}`, atLeast: 0.8 },
    { of: `ms a list page, ${FULL}`, against: `ms a list page, ${EMPTY}`, atMost: 1.2 },
    { of: `ms a get, ${FULL}`, against: `ms a get, ${EMPTY}`, atMost: 1.2 },
  ],
};

/** @typedef {import('../contestants/product.mjs').Store} Store */

/** @param {Store} store */
function emptyKind(store) {
  return {
    name: EMPTY,
    start: (/** @type {import('../contestants/contestant.mjs').Surroundings} */ surroundings) =>
      startProduct(surroundings, { store, name: EMPTY }),
  };
}

/**
 * @param {Store} store
 * @param {number} rows
 */
function fullKind(store, rows) {
  return {
    name: FULL,
    start: (/** @type {import('../contestants/contestant.mjs').Surroundings} */ surroundings) =>
      startProduct(surroundings, {
        store,
        name: FULL,
        beforeStart: async ({ dataDir, databaseUrl }) => {
          const args = [FILL, store, databaseUrl ?? dataDir, String(rows)];
          surroundings.log(`  filling the record (${store}) with ${rows} executions`);
          const filling = await surroundings.processes.startNode('fill', args, {
            onOutput: surroundings.log,
          });
          await filling.ended();
        },
      }),
  };
}

/**
 * @param {import('../contestants/product.mjs').Product} product
 * @param {number} rows
 */
async function readTimes(product, rows) {
  const { items } = await product.get('/orchestrator/executions?limit=50');
  const idOf = (/** @type {number} */ index) =>
    product.name === FULL
      ? filledId(Math.floor((index * rows) / READS))
      : items[index % items.length].executionId;
  const pages = [];
  const gets = [];
  for (let index = 0; index < READS; index++) {
    pages.push(await timed(() => product.get('/orchestrator/executions?limit=50&state=completed')));
    gets.push(await timed(() => product.get(`/orchestrator/executions/${idOf(index)}`)));
  }
  return { 'ms a list page': median(pages), 'ms a get': median(gets) };
}

/**
 * @param {string} contestant
 * @param {string} record
 * @param {Record<typeof FIGURES[number], number>[]} turns
 */
function toRows(contestant, record, turns) {
  return FIGURES.map((figure) => {
    const rounds = turns.map((turn) => turn[figure]);
    return { contestant, figure: `${figure}, ${record}`, value: median(rounds), rounds };
  });
}
