/**
 * A measure knows how one thing is measured; who takes part comes from the run.
 *
 * @typedef {object} Row
 * @property {string} contestant
 * @property {string} figure what was measured, with its unit
 * @property {number} value the median over the rounds
 * @property {number[]} [rounds]
 *
 * @typedef {object} Target A wish about the product's figure: as it is, or as a multiple of another row's.
 * @property {string} of the figure
 * @property {string} [beside] another contestant's row of the same figure
 * @property {string} [against] the product's own row of another figure
 * @property {number} [atLeast]
 * @property {number} [atMost]
 *
 * @typedef {object} Bench
 * @property {import('../contestants/contestant.mjs').ContestantKind[]} kinds who takes part
 * @property {import('../contestants/contestant.mjs').Surroundings} surroundings
 * @property {import('../options.mjs').Options} options
 *
 * @typedef {object} Measure
 * @property {string} name
 * @property {string} title
 * @property {(bench: Bench) => Promise<Row[]>} run
 * @property {Target[]} targets
 */
import { median } from '../statistics.mjs';

/**
 * One row a contestant.
 *
 * @template T
 * @param {string} figure
 * @param {{ name: string, turns: T[] }[]} results
 * @param {(turn: T) => number | undefined} valueOf undefined: this contestant has no such figure
 * @returns {Row[]}
 */
export function rowsOf(figure, results, valueOf) {
  return results.flatMap(({ name, turns }) => {
    const rounds = turns.map(valueOf).filter((value) => value !== undefined);
    return rounds.length === 0 ? [] : [{ contestant: name, figure, value: median(rounds), rounds }];
  });
}

/**
 * @param {number} count
 * @param {number} ms
 */
export const perSecond = (count, ms) => count / (ms / 1_000);

/**
 * How long an action takes, in ms.
 *
 * @param {() => Promise<unknown>} action
 */
export async function timed(action) {
  const startedAt = performance.now();
  await action();
  return performance.now() - startedAt;
}
