import { OrchestratorVariables, SharedVariables, WorkerVariables } from './config.schema.js';
import { type Variable, variablesOf } from './variable.js';

export const TABLE_START = '<!-- variables:start -->';
export const TABLE_END = '<!-- variables:end -->';

const HEADINGS = ['Variable', 'Default', 'Unit', 'Meaning'];

/** Every variable as Markdown, in the layout that prettier would give it: one table a kind of process. */
export function renderVariableTable(): string {
  const shared = variablesOf(SharedVariables);
  const own = (schema: object): Variable[] =>
    variablesOf(schema).filter((variable) => !shared.includes(variable));
  return [
    section('Orchestrator and worker', shared),
    section('Orchestrator', own(OrchestratorVariables)),
    section('Worker', own(WorkerVariables)),
  ].join('\n\n');
}

/**
 * The text with the table put between its markers.
 *
 * @throws Error when the markers are missing
 */
export function withVariableTable(markdown: string): string {
  const start = markdown.indexOf(TABLE_START);
  const end = markdown.indexOf(TABLE_END);
  if (start === -1 || end < start) {
    throw new Error(
      `expected the lines ${TABLE_START} and ${TABLE_END}, found none: put them where the table belongs`,
    );
  }
  return `${markdown.slice(0, start + TABLE_START.length)}\n\n${renderVariableTable()}\n\n${markdown.slice(end)}`;
}

function section(title: string, variables: readonly Variable[]): string {
  const rows = variables.map(({ name, defaultText, unit, about }) => [
    code(name),
    shownDefault(defaultText),
    unit,
    about,
  ]);
  const widths = HEADINGS.map((heading, column) =>
    Math.max(heading.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`;
  const rule = widths.map((width) => '-'.repeat(width));
  return [`### ${title}`, '', line(HEADINGS), line(rule), ...rows.map(line)].join('\n');
}

const code = (text: string): string => `\`${text}\``;

/** Words of ours (`host name`) stay words; values are set as code. */
function shownDefault(text: string): string {
  if (text === '') return 'empty';
  return text.includes(' ') ? text : code(text);
}
