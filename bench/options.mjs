/** The command line of the benchmark. */
import { parseArgs } from 'node:util';

/**
 * How much is done, where it can be told on the command line by the same name.
 *
 * @typedef {object} Sizes
 * @property {number} rounds turns of each contestant
 * @property {number} flows tasks in a turn of a throughput measure
 * @property {number} samples requests in a turn of a latency measure
 * @property {number} backlog low-priority flows before a high one
 * @property {number} queued flows that wait while memory is measured
 * @property {number} rows finished executions that the record is filled with
 *
 * @typedef {Sizes & { quick: boolean, only?: string[], stores: ('sqlite' | 'postgres')[], peers?: string[] }} Options
 */

/** @type {Sizes} */
const FULL = {
  rounds: 3,
  flows: 20_000,
  samples: 1_000,
  backlog: 100_000,
  queued: 1_000_000,
  rows: 5_000_000,
};
/** @type {Sizes} */
const QUICK = { rounds: 1, flows: 300, samples: 30, backlog: 500, queued: 2_000, rows: 5_000 };
const STORES = ['sqlite', 'postgres'];

/**
 * @param {string[]} args
 * @returns {Options & { help: boolean }}
 * @throws Error that says which option is wrong
 */
export function readOptions(args) {
  const { values } = parseArgs({
    args,
    options: {
      help: { type: 'boolean', short: 'h', default: false },
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      stores: { type: 'string', default: STORES.join(',') },
      peers: { type: 'string' },
      ...Object.fromEntries(
        Object.keys(FULL).map((name) => [name, { type: /** @type {const} */ ('string') }]),
      ),
    },
  });
  const { help, quick, only, stores, peers, ...sizes } = values;
  return {
    help,
    quick,
    only: listOf(only),
    stores: /** @type {Options['stores']} */ (known('stores', listOf(stores) ?? [], STORES)),
    peers: listOf(peers),
    ...(quick ? QUICK : FULL),
    ...Object.fromEntries(Object.entries(sizes).map(([name, text]) => [name, wholeNumber(name, text)])),
  };
}

/**
 * @param {string} option
 * @param {string[]} words
 * @param {string[]} allowed
 */
export function known(option, words, allowed) {
  const strange = words.find((word) => !allowed.includes(word));
  if (strange === undefined) return words;
  throw new Error(`Expected --${option} to name some of ${allowed.join(', ')}; got ${strange}.`);
}

/** @param {string | undefined} text */
function listOf(text) {
  return text
    ?.split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
}

/**
 * @param {string} name
 * @param {unknown} text
 */
function wholeNumber(name, text) {
  const value = Number(String(text).replaceAll('_', ''));
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new Error(`Expected --${name} to be a whole number above 0, got ${text}.`);
}
