/** The results as people and programs read them. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { CHECKOUT } from '../scripts/checkout.mjs';

const RESULTS_DIR = join(CHECKOUT, 'bench', 'results');
const QUICK_DIR = join(CHECKOUT, '.data', 'bench-quick');
const OURS = 'product';

/**
 * @typedef {import('./measures/measure.mjs').Row} Row
 * @typedef {import('./measures/measure.mjs').Target} Target
 *
 * @typedef {object} Ratio
 * @property {string} text
 * @property {number} value
 * @property {string} target
 * @property {boolean} met
 *
 * @typedef {{ name: string, title: string, rows: Row[], ratios: Ratio[] }} Outcome
 *
 * @typedef {object} Report
 * @property {string} date ISO 8601
 * @property {string} commit
 * @property {object} machine
 * @property {Record<string, string>} versions of everything that took part
 * @property {Record<string, string>} missing why peers could not take part
 * @property {import('./options.mjs').Options} options
 * @property {Outcome[]} measures
 */

/**
 * @param {Row[]} rows
 * @param {Target[]} targets
 * @returns {Ratio[]} one for each row of the product that has what it is compared with
 */
export function ratiosOf(rows, targets) {
  return targets.flatMap((target) =>
    rows
      .filter(({ contestant, figure }) => figure === target.of && contestant.startsWith(OURS))
      .flatMap((row) => ratioOf(row, target, rows) ?? []),
  );
}

/**
 * @param {Row} row
 * @param {Target} target
 * @param {Row[]} rows
 * @returns {Ratio | undefined}
 */
function ratioOf(row, { of, beside, against, atLeast, atMost }, rows) {
  const limits = {
    target: atLeast === undefined ? `≤ ${atMost}` : `≥ ${atLeast}`,
    isMet: (/** @type {number} */ value) =>
      atLeast === undefined ? value <= /** @type {number} */ (atMost) : value >= atLeast,
  };
  const other = rows.find(
    ({ contestant, figure }) => contestant === (beside ?? row.contestant) && figure === (against ?? of),
  );
  if (!other) return undefined;
  const isRatio = beside !== undefined || against !== undefined;
  const value = isRatio ? row.value / other.value : row.value;
  const divisor = isRatio ? ` / ${beside ?? against}` : '';
  return {
    text: `${row.contestant}: ${of}${divisor}`,
    value,
    target: limits.target,
    met: limits.isMet(value),
  };
}

/** @param {number} value */
function rounded(value) {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en-US');
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 3);
}

/** @param {Outcome} outcome */
export function toMarkdown({ name, title, rows, ratios }) {
  const spread = (/** @type {Row} */ { rounds }) => (rounds ? rounds.map(rounded).join(' · ') : '');
  const lines = [
    `## ${name}: ${title}`,
    '',
    '| contestant | figure | median | rounds |',
    '| --- | --- | ---: | --- |',
    ...rows.map((row) => `| ${row.contestant} | ${row.figure} | ${rounded(row.value)} | ${spread(row)} |`),
    '',
  ];
  if (ratios.length > 0) {
    lines.push('| beside the target | value | target | |', '| --- | ---: | --- | --- |');
    for (const { text, value, target, met } of ratios) {
      lines.push(`| ${text} | ${value.toFixed(2)} | ${target} | ${met ? 'met' : '**not met**'} |`);
    }
    lines.push('');
  }
  return lines.join('\n');
}

/** @param {Report} report */
function reportAsMarkdown({ date, commit, machine, versions, missing, options, measures }) {
  const pairs = (/** @type {object} */ object) =>
    Object.entries(object)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => `${name} ${Array.isArray(value) ? value.join(' ') : value}`)
      .join(', ');
  return [
    `# Benchmark of ${date.slice(0, 10)}, commit ${commit}`,
    '',
    `- Machine: ${pairs(machine)}`,
    `- Versions: ${pairs(versions)}`,
    `- Options: ${pairs(options)}`,
    ...Object.entries(missing).map(([name, reason]) => `- **Not compared with ${name}**: ${reason}`),
    '',
    ...measures.map(toMarkdown),
  ].join('\n');
}

/** @param {Report} report @returns {Promise<string[]>} the files */
export async function writeReport(report) {
  const { format, resolveConfig } = await import('prettier');
  const dir = report.options.quick ? QUICK_DIR : RESULTS_DIR;
  mkdirSync(dir, { recursive: true });
  const texts = {
    [freeName(join(dir, `${report.date.slice(0, 10)}-${report.commit}`), '.json')]: JSON.stringify(report),
    [join(dir, 'latest.md')]: reportAsMarkdown(report),
  };
  for (const [filepath, text] of Object.entries(texts)) {
    writeFileSync(filepath, await format(text, { ...(await resolveConfig(filepath)), filepath }));
  }
  return Object.keys(texts);
}

/**
 * A result that is there already is kept: the next run at the same commit gets `-2`, and so on.
 *
 * @param {string} path
 * @param {string} extension
 */
function freeName(path, extension) {
  let name = path + extension;
  for (let run = 2; existsSync(name); run++) name = `${path}-${run}${extension}`;
  return name;
}

export function machine() {
  const [cpu] = cpus();
  return {
    cores: cpus().length,
    cpu: cpu?.model ?? 'unknown',
    memoryGb: Math.round(totalmem() / 1e9),
    kernel: release().split('-')[0],
  };
}

/** The short hash, with `-dirty` when files other than results differ from it; `unknown` outside a git checkout. */
export function commit() {
  try {
    const git = (/** @type {string[]} */ ...args) =>
      execFileSync('git', args, {
        cwd: CHECKOUT,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }).trim();
    const dirty = git('status', '--porcelain', '--', 'src', 'bench', ':!bench/results') !== '';
    return git('rev-parse', '--short', 'HEAD') + (dirty ? '-dirty' : '');
  } catch {
    return 'unknown';
  }
}
