/** The table of injected faults that a run prints at its end. */

/**
 * @typedef {object} FaultLine what `reportFault` of the tests writes, once INV holds
 * @property {string} fault
 * @property {number} executions
 * @property {number} [recoveryMs]
 * @property {string} [note]
 */

/**
 * @param {string} report one JSON object a line
 * @returns {string} a Markdown table
 */
export function faultTable(report) {
  /** @type {FaultLine[]} */
  const lines = report
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
  const rows = [
    ['fault', 'executions', 'recovery', 'INV'],
    ...lines.map(({ fault, executions, recoveryMs, note }) => [
      fault,
      String(executions),
      [recoveryMs === undefined ? '–' : `${Math.round(recoveryMs)} ms`, note].filter(Boolean).join('; '),
      'holds',
    ]),
  ];
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const render = (/** @type {string[]} */ row) =>
    `| ${row.map((cell, column) => cell.padEnd(widths[column])).join(' | ')} |`;
  const [head, ...body] = rows.map(render);
  return [head, `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...body].join('\n');
}
