/** `npm run simulate:scaling -- --help`: how the pool's size would have followed an arrival trace. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { CHECKOUT } from './checkout.mjs';
import { comparisonTable, compare } from './scaling/report.mjs';
import { comparedScalers } from './scaling/scalers.mjs';
import { burstTrace, commitsTrace, csvTrace, flightsTrace, hoverTrace } from './scaling/traces.mjs';

const HELP = `npm run simulate:scaling -- [options]        (after npm run build)

Replays arrival traces on simulated workers, sized by this product's decision and by queue depth alone,
and prints what that would have cost and how long tasks would have waited, as a Markdown table.

  --trace NAME   flights, commits, burst, hover; default: all
  --file FILE    your own trace instead: a line a task, "arrival,duration" in seconds from the start
  --slots N      slots a worker (5)
  --boot-s N     seconds from the wish for a worker until it takes tasks (20)
  --min N        fewest workers (2)
  --max N        most workers (20)
`;

/** @param {string} name of a file of the package vega-datasets */
function dataSet(name) {
  const file = join(CHECKOUT, 'node_modules', 'vega-datasets', 'data', name);
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new Error(`Expected the data set ${file}; run \`npm ci\` (with the development packages) first`, {
      cause: error,
    });
  }
}

/** @type {Record<string, () => import('./scaling/traces.mjs').Trace[]>} */
const TRACES = {
  flights: () => {
    const flights = JSON.parse(dataSet('flights-20k.json'));
    return [flightsTrace(flights, 1), flightsTrace(flights, 4)];
  },
  commits: () => [commitsTrace(dataSet('github.csv'))],
  burst: () => [burstTrace()],
  hover: () => [hoverTrace()],
};

function readOptions() {
  const { values } = parseArgs({
    options: {
      help: { type: 'boolean', short: 'h', default: false },
      trace: { type: 'string' },
      file: { type: 'string' },
      slots: { type: 'string', default: '5' },
      'boot-s': { type: 'string', default: '20' },
      min: { type: 'string', default: '2' },
      max: { type: 'string', default: '20' },
    },
  });
  if (values.trace !== undefined && !Object.hasOwn(TRACES, values.trace)) {
    throw new Error(`Expected --trace to be one of ${Object.keys(TRACES).join(', ')}; got ${values.trace}`);
  }
  const pool = {
    slots: number('--slots', values.slots, 1),
    bootMs: number('--boot-s', values['boot-s'], 0) * 1_000,
    minWorkers: number('--min', values.min, 1),
    maxWorkers: number('--max', values.max, Number(values.min)),
  };
  return { ...values, pool };
}

/**
 * @param {string} option
 * @param {string} text
 * @param {number} least
 */
function number(option, text, least) {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least) {
    throw new Error(`Expected ${option} to be a whole number of ${least} or more; got ${text}`);
  }
  return value;
}

async function loadDecision() {
  return import('../dist/scaling/decision.js').catch((error) => {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new Error('Expected dist/scaling/decision.js; run `npm run build` first', { cause: error });
  });
}

/** @param {ReturnType<typeof readOptions>} options */
function chosenTraces({ file, trace }) {
  if (file !== undefined) return [csvTrace(readFileSync(file, 'utf8'))];
  return (trace === undefined ? Object.values(TRACES) : [TRACES[trace]]).flatMap((make) => make());
}

try {
  const options = readOptions();
  if (options.help) {
    console.log(HELP);
  } else {
    const { pool } = options;
    const scalers = comparedScalers(await loadDecision(), pool);
    console.log(comparisonTable(compare(chosenTraces(options), scalers, pool)));
  }
} catch (error) {
  console.error(/** @type {Error} */ (error).message);
  process.exitCode = 2;
}
