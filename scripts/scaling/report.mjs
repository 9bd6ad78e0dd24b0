/** The comparison as a Markdown table. */
import { simulate } from './simulator.mjs';

/** @typedef {import('./simulator.mjs').Scaler} Scaler */
/** @typedef {import('./simulator.mjs').Pool} Pool */
/** @typedef {import('./simulator.mjs').Outcome} Outcome */
/** @typedef {import('./traces.mjs').Trace} Trace */
/** @typedef {{ trace: string, scaler: string, outcome: Outcome }} Line */

/**
 * Every trace with every scaler.
 *
 * @param {Trace[]} traces
 * @param {(() => Scaler)[]} scalers
 * @param {Pool} pool
 * @returns {Line[]}
 */
export function compare(traces, scalers, pool) {
  return traces.flatMap((trace) =>
    scalers.map((make) => {
      const scaler = make();
      return { trace: trace.name, scaler: scaler.name, outcome: simulate(trace, scaler, pool) };
    }),
  );
}

/** @type {[heading: string, cell: (outcome: Outcome) => string][]} */
const COLUMNS = [
  ['missing, worker-s', ({ underWorkerS }) => count(underWorkerS)],
  ['too many, worker-s', ({ overWorkerS }) => count(overWorkerS)],
  ['p50 wait', ({ p50WaitS }) => `${p50WaitS.toFixed(1)} s`],
  ['p99 wait', ({ p99WaitS }) => `${p99WaitS.toFixed(1)} s`],
  ['ups + downs', ({ ups, downs }) => `${ups} + ${downs}`],
  ['worker-hours', ({ workerHours }) => workerHours.toFixed(1)],
];

/** @param {Line[]} lines */
export function comparisonTable(lines) {
  const rows = [
    ['trace', 'scaled by', ...COLUMNS.map(([heading]) => heading)],
    ...lines.map(({ trace, scaler, outcome }) => [
      trace,
      scaler,
      ...COLUMNS.map(([, cell]) => cell(outcome)),
    ]),
  ];
  return markdownTable(rows, 2);
}

/**
 * @param {string[][]} rows the first is the head
 * @param {number} textColumns how many columns hold text; the others are numbers, set to the right
 */
export function markdownTable(rows, textColumns) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const isText = (/** @type {number} */ column) => column < textColumns;
  const line = (/** @type {string[]} */ row) =>
    `| ${row.map((cell, at) => (isText(at) ? cell.padEnd(widths[at]) : cell.padStart(widths[at]))).join(' | ')} |`;
  const rule = widths.map((width, at) => (isText(at) ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`));
  return [line(rows[0]), line(rule), ...rows.slice(1).map(line)].join('\n');
}

/** @param {number} value */
function count(value) {
  return Math.round(value).toLocaleString('en-US');
}
