/**
 * `npm run quickstart`: from a fresh checkout to the result of a flow. Node built-ins only, since this runs before
 * `npm ci`. Everything it starts ends with it, also when it is killed (see startGuard).
 */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inspect, parseArgs } from 'node:util';
import { provideBroker } from './broker.mjs';
import { CHECKOUT, checkNodeVersion, ensureBuilt, ensureInstalled } from './checkout.mjs';
import { NODE_FLAGS } from './node-flags.mjs';
import {
  endProcess,
  isAlive,
  isPortFree,
  lastLines,
  signalProcess,
  startGuard,
  waitUntil,
} from './processes.mjs';

const HELP = `npm run quickstart [-- --once]

Installs and builds what is missing, finds or starts RabbitMQ, starts one orchestrator, which starts two workers and
more under load (docs/scaling.md), runs the example flow (examples/flows/quickstart.json), prints its result, and keeps
running until Ctrl-C.

  --once   end after the result: exit code 0 if the flow completed, 1 if not
  --help   this text

Environment: AMQP_URL (use this broker), RABBITMQ_SERVER_BIN (start this one), PORT (default 3000, or the next free
port), NO_COLOR. Data and logs are under .data/quickstart.`;

const HOST = '127.0.0.1';
const EXAMPLE_FILE = join(CHECKOUT, 'examples', 'flows', 'quickstart.json');
const WORKERS = 2;
const READY_TIMEOUT_MS = 90_000;
const RESULT_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 40_000;
const MAX_RESULT_LINES = 40;
// npm hands on a Ctrl-C that the terminal has sent to us as well: two signals, one wish.
const SAME_WISH_MS = 1_000;
const FINAL_STATES = ['completed', 'failed', 'cancelled', 'dead'];

const colourful = process.stdout.isTTY === true && !process.env.NO_COLOR;
const paint = (/** @type {number} */ code) => (/** @type {string} */ text) =>
  colourful ? `\x1b[${code}m${text}\x1b[0m` : text;
const [bold, red, green, grey] = [1, 31, 32, 90].map(paint);

/** @param {string} message */
const step = (message) => console.log(`${green('▸')} ${message}`);

/**
 * @typedef {object} Service One of our own processes.
 * @property {string} name
 * @property {string} logFile
 * @property {import('node:child_process').ChildProcess} child
 */

/** What was started, in the order of starting; it is stopped in the reverse order. */
class Running {
  /** @type {{ stop: () => Promise<unknown>, kill: () => unknown }[]} */
  #parts = [];
  #guard = startGuard();
  /** @type {Service[]} */
  services = [];
  stopping = false;

  /** @param {{ stop: () => Promise<unknown>, kill: () => unknown }} part */
  add(part) {
    this.#parts.push(part);
  }

  /** @param {Service[]} services which stop together */
  addServices(services) {
    this.services.push(...services);
    this.#watch();
    // The number of a process that has ended may be somebody else's by now.
    const left = () => services.filter((service) => !hasEnded(service));
    this.add({
      stop: () =>
        Promise.all(left().map(({ child }) => endProcess(child.pid, { timeoutMs: STOP_TIMEOUT_MS }))),
      kill: () => left().forEach(({ child }) => child.kill('SIGKILL')),
    });
  }

  /** The end of a service is an error, unless everything is being stopped. */
  check() {
    if (!this.stopping) refuseEnded(this.services);
  }

  #watch() {
    this.#guard.watch(this.services.map(({ child }) => /** @type {number} */ (child.pid)));
  }

  async stop() {
    this.stopping = true;
    for (let part = this.#parts.pop(); part; part = this.#parts.pop()) await part.stop();
    this.#guard.release();
  }

  kill() {
    for (const part of this.#parts) part.kill();
  }
}

/**
 * A quickstart body. An inputs value `{"$dataset": "vega-datasets/data/movies.json"}` stands for that JSON file of an
 * installed npm package.
 *
 * @param {string} [file]
 * @param {string} [packagesDir]
 * @returns {Record<string, unknown>}
 */
export function loadExample(file = EXAMPLE_FILE, packagesDir = join(CHECKOUT, 'node_modules')) {
  return JSON.parse(readFileSync(file, 'utf8'), (_key, value) => {
    const dataset = value?.$dataset;
    return typeof dataset === 'string' ? readDataset(dataset, packagesDir) : value;
  });
}

/**
 * @param {string} dataset
 * @param {string} packagesDir
 */
function readDataset(dataset, packagesDir) {
  const path = resolve(packagesDir, dataset);
  if (!path.startsWith(packagesDir + sep)) {
    throw new Error(
      `Expected $dataset to name a file of an installed npm package; "${dataset}" leads elsewhere.`,
    );
  }
  return JSON.parse(readFileSync(path, 'utf8'));
}

/**
 * The first quickstart of a checkout works in .data/quickstart; one that runs beside it in .data/quickstart-2, and so on.
 *
 * @returns {{ dir: string, number: number, release: () => void }}
 */
function claimFolder() {
  for (let number = 1; ; number++) {
    const dir = join(CHECKOUT, '.data', number === 1 ? 'quickstart' : `quickstart-${number}`);
    const lock = join(dir, 'lock');
    mkdirSync(join(dir, 'logs'), { recursive: true });
    if (claim(lock)) return { dir, number, release: () => rmSync(lock, { force: true }) };
  }
}

/** @param {string} lock */
function claim(lock) {
  const write = () => writeFileSync(lock, String(process.pid), { flag: 'wx' });
  try {
    write();
    return true;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EEXIST') throw error;
  }
  if (isAlive(Number.parseInt(readFileSync(lock, 'utf8'), 10))) return false;
  rmSync(lock, { force: true });
  write();
  return true;
}

/** @param {number} wanted */
async function portFrom(wanted) {
  for (let port = wanted; port < wanted + 100; port++) if (await isPortFree(port)) return port;
  throw new Error(
    `Expected a free port between ${wanted} and ${wanted + 99} on ${HOST}; all are taken. Set PORT to a free one.`,
  );
}

/**
 * @param {string} name
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} env
 * @param {string} logDir
 * @returns {Service}
 */
function startService(name, args, env, logDir) {
  const logFile = join(logDir, `${name}.log`);
  const output = openSync(logFile, 'w');
  // A process group of its own: Ctrl-C reaches this process alone, which then stops the others in order.
  const child = spawn(process.execPath, args, {
    cwd: CHECKOUT,
    env,
    detached: true,
    stdio: ['ignore', output, output],
  });
  closeSync(output);
  return { name, logFile, child };
}

/**
 * The workers of the orchestrator outlive it when it is killed. What it keeps of them says which they are; an id alone
 * may be somebody else's by now, so the time of the start has to be the same too.
 *
 * @param {string} folder
 * @returns {Promise<() => number[]>} the ids of those that run
 */
async function launchedWorkers(folder) {
  const { processTable } = await import(
    new URL('../dist/scaling/drivers/process-table.js', import.meta.url).href
  );
  const { place, startTimes } = processTable();
  return () => {
    const states = statesIn(folder).filter(({ host, boot }) => host === place.host && boot === place.boot);
    const starts = startTimes(states.map(({ pid }) => pid));
    return states.filter(({ pid, startTime }) => starts.get(pid) === startTime).map(({ pid }) => pid);
  };
}

/**
 * @param {string} folder
 * @returns {any[]}
 */
function statesIn(folder) {
  try {
    const names = readdirSync(folder).filter((name) => name.endsWith('.json'));
    return names.map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')));
  } catch {
    return [];
  }
}

/** @param {Service} service */
function hasEnded({ child }) {
  return child.exitCode !== null || child.signalCode !== null;
}

/**
 * @param {Service[]} services
 * @throws if one has ended
 */
export function refuseEnded(services) {
  const dead = services.find(hasEnded);
  if (!dead) return;
  const { child, name, logFile } = dead;
  throw new Error(
    `Expected ${name} to keep running; it ended with ${child.signalCode ?? child.exitCode}. Its last lines:\n${lastLines(logFile)}\nThe whole log is ${relative(process.cwd(), logFile)}. Put right what it names and start again; if it is the record in ${relative(process.cwd(), join(logFile, '..', '..'))}, delete that folder.`,
  );
}

/**
 * @param {string} url
 * @returns {Promise<any>} undefined as long as there is no good answer
 */
async function fetchJson(url) {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(10_000) });
    return response.ok ? await response.json() : undefined;
  } catch {
    return undefined;
  }
}

/**
 * @param {string} what
 * @param {Running} running
 * @param {() => Promise<boolean>} isSo
 */
async function waitFor(what, running, isSo) {
  const reached = await waitUntil(
    () => {
      running.check();
      return isSo();
    },
    { timeoutMs: READY_TIMEOUT_MS, everyMs: 200 },
  );
  if (reached) return;
  const logs = running.services
    .map(({ name, logFile }) => `--- ${name}\n${lastLines(logFile, 8)}`)
    .join('\n');
  throw new Error(
    `Expected ${what} within ${READY_TIMEOUT_MS / 1000} s; it did not happen. The logs end like this:\n${logs}`,
  );
}

/**
 * Posts the example and follows it to its end.
 *
 * @param {string} api
 * @param {Running} running
 * @returns {Promise<any>} the execution as the API shows it
 */
async function runExample(api, running) {
  const executionId = await submit(api, loadExample());
  const url = `${api}/orchestrator/executions/${encodeURIComponent(executionId)}`;
  const startedAt = Date.now();
  const show = progressPrinter(startedAt);
  const execution = await waitUntil(
    async () => {
      running.check();
      const now = await fetchJson(url);
      if (now) show(now);
      return now && FINAL_STATES.includes(now.state) ? now : undefined;
    },
    { timeoutMs: RESULT_TIMEOUT_MS, everyMs: 100 },
  );
  if (execution) return execution;
  throw new Error(
    `Expected execution ${executionId} to end within ${RESULT_TIMEOUT_MS / 1000} s; it did not. ${url} says why.`,
  );
}

/**
 * @param {string} api
 * @param {Record<string, unknown>} body
 * @returns {Promise<string>} the execution's id
 */
async function submit(api, body) {
  const response = await fetch(`${api}/orchestrator/execute`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const answer = await response.text();
  if (response.status === 202) return JSON.parse(answer).executionId;
  throw new Error(
    `Expected 202 for ${relative(process.cwd(), EXAMPLE_FILE)}; ${response.status} came: ${answer}`,
  );
}

/** @param {number} startedAt */
function progressPrinter(startedAt) {
  /** @type {Set<string>} */
  const shown = new Set();
  const once = (/** @type {string} */ line) => {
    if (shown.has(line)) return;
    shown.add(line);
    console.log(`  ${grey(`${String(Date.now() - startedAt).padStart(5)} ms`)}  ${line}`);
  };
  return (/** @type {any} */ execution) => {
    for (const node of execution.timeline ?? []) once(`  node ${node.nodeId} (${node.type}): ${node.state}`);
    const worker = execution.workerId ? ` on ${execution.workerId}` : '';
    once(`${execution.state}${worker}${waitingReason(execution)}`);
  };
}

/** @param {any} execution */
function waitingReason({ waiting }) {
  const reason = typeof waiting === 'string' ? waiting : (waiting?.message ?? waiting?.reason);
  return reason ? `: ${reason}` : '';
}

/**
 * @param {any} execution
 * @param {string} api
 */
function printEnd(execution, api) {
  const completed = execution.state === 'completed';
  console.log(`\n${bold(completed ? 'Result' : red(`The flow ended as ${execution.state}`))}`);
  const shape = { depth: 8, maxArrayLength: 5, maxStringLength: 500, breakLength: 100, colors: colourful };
  const lines = inspect(completed ? execution.result : execution.error, shape).split('\n');
  console.log(lines.slice(0, MAX_RESULT_LINES).join('\n'));
  if (lines.length > MAX_RESULT_LINES) console.log(grey(`… ${lines.length - MAX_RESULT_LINES} more lines`));
  const rows = [
    ['this execution', `${api}/orchestrator/executions/${execution.executionId}`],
    ['API', `${api}/orchestrator/executions`],
    ['documentation', `${api}/docs`],
    ['health', `${api}/orchestrator/health`],
  ];
  console.log(`\n${rows.map(([name, url]) => `${name.padEnd(16)}${url}`).join('\n')}\n`);
}

/** @param {Running} running */
function stopOnSignals(running) {
  let firstAt = 0;
  const onSignal = async () => {
    if (running.stopping) {
      if (Date.now() - firstAt < SAME_WISH_MS) return;
      running.kill();
      process.exit(130);
    }
    firstAt = Date.now();
    console.log('');
    step('Stopping (Ctrl-C again to force)');
    try {
      await running.stop();
      process.exit(0);
    } catch (error) {
      fail(error);
    }
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, onSignal);
}

/**
 * @param {Running} running
 * @returns {Promise<string>} the API's address
 */
async function startEverything(running) {
  const folder = claimFolder();
  running.add({ stop: async () => folder.release(), kill: folder.release });
  step('Finding or starting RabbitMQ');
  const broker = await provideBroker({ dataDir: join(folder.dir, 'broker'), log: step });
  running.add({ stop: () => broker.stop(), kill: () => broker.pid && signalProcess(broker.pid, 'SIGKILL') });

  // The folder's number keeps two that start at the same moment from finding the same port free.
  const port = await portFrom((Number(process.env.PORT) || 3000) + folder.number - 1);
  const api = `http://${HOST}:${port}`;
  const env = {
    ...process.env,
    PORT: String(port),
    HOST,
    AMQP_URL: broker.url,
    DATA_DIR: folder.dir,
    DATABASE_URL: '',
    WORKER_DRIVER: 'process',
    MIN_WORKERS: String(WORKERS),
    // Two quickstarts on one given broker must not share queues; a private broker is not shared anyhow.
    ...(folder.number > 1 && broker.kind === 'given' && { AMQP_PREFIX: `quickstart-${folder.number}.` }),
  };
  const logDir = join(folder.dir, 'logs');
  const workers = await launchedWorkers(join(folder.dir, 'workers'));
  // Of a quickstart that was killed: they look for a broker that is gone.
  await Promise.all(workers().map((pid) => endProcess(pid, { timeoutMs: STOP_TIMEOUT_MS })));
  running.add({
    stop: () => Promise.all(workers().map((pid) => endProcess(pid, { timeoutMs: STOP_TIMEOUT_MS }))),
    kill: () => workers().forEach((pid) => signalProcess(pid, 'SIGKILL')),
  });
  running.addServices([startService('orchestrator', [...NODE_FLAGS, 'dist/main.js'], env, logDir)]);
  await waitFor(
    'the orchestrator to be ready',
    running,
    async () => (await fetchJson(`${api}/health/ready`)) !== undefined,
  );
  step(`Orchestrator ready on ${api}`);
  /** @type {string[]} */
  let joined = [];
  await waitFor(`${WORKERS} workers in the pool`, running, async () => {
    const pool = await fetchJson(`${api}/orchestrator/workers`);
    const ready = (pool?.items ?? []).filter((/** @type {any} */ worker) => worker.assignable);
    joined = ready.map((/** @type {any} */ worker) => worker.workerId);
    return joined.length >= WORKERS;
  });
  step(`Workers joined: ${joined.join(', ')}`);
  return api;
}

/** @param {unknown} error */
function fail(error) {
  console.error(`\n${red('Quickstart stopped.')} ${error instanceof Error ? error.message : error}`);
  process.exit(1);
}

async function main() {
  const { values } = parseArgs({
    options: { once: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
  });
  if (values.help) return void console.log(HELP);
  checkNodeVersion();
  const running = new Running();
  stopOnSignals(running);
  try {
    await ensureInstalled(step);
    await ensureBuilt(step);
    const api = await startEverything(running);
    step('Running the example flow (examples/flows/quickstart.json)');
    const execution = await runExample(api, running);
    printEnd(execution, api);
    if (!values.once) return await keepRunning(running);
    await running.stop();
    process.exit(execution.state === 'completed' ? 0 : 1);
  } catch (error) {
    // A start that Ctrl-C interrupts fails somewhere; the signal's own handler ends the process then.
    if (running.stopping) return;
    await running.stop();
    fail(error);
  }
}

/**
 * Until Ctrl-C, or until the orchestrator dies. Workers come and go: that is its business.
 *
 * @param {Running} running
 */
async function keepRunning(running) {
  step('Running. Ctrl-C stops everything');
  await waitUntil(
    () => {
      running.check();
      return running.stopping;
    },
    { timeoutMs: Number.POSITIVE_INFINITY, everyMs: 500 },
  );
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) await main().catch(fail);
