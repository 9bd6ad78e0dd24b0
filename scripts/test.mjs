/**
 * `npm test [-- jest arguments]`: one private broker and one private PostgreSQL for the whole run, then jest. The
 * last line is `N passed, N failed`, unless the run is interrupted. Node built-ins only, since this runs before `npm ci`.
 *
 * jest's processes get TEST_AMQP_URL, TEST_DATABASE_URL, TEST_BROKER_STATE and TEST_POSTGRES_STATE (files for
 * attachBroker and attachPostgres), TEST_PYTHON (a Python that has pika), and TEST_FAULT_REPORT, a file for one line a
 * fault, from which a table is printed.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { canInstallPackages, installPackages } from './apt.mjs';
import { provideBroker, saveBrokerState } from './broker.mjs';
import { CHECKOUT, checkNodeVersion, ensureBuilt, ensureInstalled } from './checkout.mjs';
import { faultTable } from './fault-table.mjs';
import { providePostgres, savePostgresState } from './postgres.mjs';
import { endProcess, isAlive, startGuard, succeeds } from './processes.mjs';

const RUNS_DIR = join(CHECKOUT, '.data', 'test');
const SYSTEM_PYTHON = '/usr/bin/python3';

/** @typedef {{ passed: number, failed: number, skipped: number }} Counts */

/** @param {string} message */
const log = (message) => console.error(`▸ ${message}`);

/** What must be stopped at the end, in the order of starting. @type {(() => Promise<unknown>)[]} */
const started = [];

/** Each run has a folder of its own; those of runs that were killed are removed. */
function makeRunFolder() {
  mkdirSync(RUNS_DIR, { recursive: true });
  for (const name of readdirSync(RUNS_DIR)) {
    if (!isAlive(Number(name))) rmSync(join(RUNS_DIR, name), { recursive: true, force: true });
  }
  const dir = join(RUNS_DIR, String(process.pid));
  mkdirSync(dir, { recursive: true });
  return dir;
}

/** The Python worker of examples/ is part of the flow tests. */
async function providePython() {
  const candidates = [process.env.TEST_PYTHON, SYSTEM_PYTHON, 'python3'].filter((name) => name !== undefined);
  for (const python of candidates) if (await hasPika(python)) return python;
  if (canInstallPackages()) await installPackages(['python3-pika'], log);
  if (await hasPika(SYSTEM_PYTHON)) return SYSTEM_PYTHON;
  throw new Error(
    `Expected a Python 3 with the module pika, for the example worker; none of ${candidates.join(', ')} has it. Install it (Debian/Ubuntu: apt-get install python3-pika; elsewhere: pip install pika), or set TEST_PYTHON to one that has it.`,
  );
}

/** @param {string} python */
const hasPika = (python) => succeeds(python, ['-c', 'import pika']);

/**
 * @param {string} dir
 * @returns {Promise<NodeJS.ProcessEnv>}
 */
async function provideServers(dir) {
  const brokerState = join(dir, 'broker.json');
  const postgresState = join(dir, 'postgres.json');
  const broker = await provideBroker({ dataDir: join(dir, 'broker'), log });
  started.push(() => broker.stop());
  const postgres = await providePostgres({ dataDir: join(dir, 'postgres'), log });
  started.push(() => postgres.stop());
  saveBrokerState(broker, brokerState);
  savePostgresState(postgres, postgresState);
  return {
    TEST_AMQP_URL: broker.url,
    TEST_BROKER_STATE: brokerState,
    TEST_DATABASE_URL: postgres.url,
    TEST_POSTGRES_STATE: postgresState,
  };
}

/**
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} env
 * @param {string} reportFile
 * @returns {Promise<number>} jest's exit code
 */
function runJest(args, env, reportFile) {
  const jest = join('node_modules', 'jest', 'bin', 'jest.js');
  const command = [
    '--experimental-vm-modules',
    '--no-warnings',
    jest,
    '--json',
    '--outputFile',
    reportFile,
    ...args,
  ];
  return new Promise((done, fail) => {
    // With --outputFile the report goes to the file and the usual output to stderr. Its own process group: on Ctrl-C
    // this process ends it, and then the servers, in that order.
    const child = spawn(process.execPath, command, {
      cwd: CHECKOUT,
      env: { ...process.env, ...env },
      stdio: ['inherit', 'inherit', 'inherit'],
      detached: true,
    });
    const guard = startGuard();
    if (child.pid) guard.watch([-child.pid]);
    started.push(async () => {
      await endProcess(child.pid, { timeoutMs: 10_000 });
      guard.release();
    });
    child.once('error', fail);
    child.once('exit', (code) => done(code ?? 1));
  });
}

/**
 * A test file that could not even be loaded has no tests to count: it counts as one that failed.
 *
 * @param {string} reportFile
 * @returns {Counts}
 */
function readCounts(reportFile) {
  if (!existsSync(reportFile)) return { passed: 0, failed: 0, skipped: 0 };
  const report = JSON.parse(readFileSync(reportFile, 'utf8'));
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + report.numRuntimeErrorTestSuites,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

async function stopEverything() {
  for (let stop = started.pop(); stop; stop = started.pop()) await stop();
}

/**
 * @param {Counts} counts
 * @param {number} code
 */
function finish({ passed, failed, skipped }, code) {
  if (skipped > 0) console.log(`${skipped} skipped`);
  if (passed + failed === 0) console.error('Expected at least one test to run; none did.');
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(code === 0 && passed + failed === 0 ? 1 : code);
}

let interruptedAt = 0;
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
  process.on(signal, async () => {
    // npm hands on a Ctrl-C that the terminal has sent to us as well: two signals within a second are one wish.
    if (interruptedAt > 0 && Date.now() - interruptedAt < 1_000) return;
    if (interruptedAt > 0) process.exit(130);
    interruptedAt = Date.now();
    log('Stopping (Ctrl-C again to force)');
    await stopEverything();
    process.exit(130);
  });
}

let counts = { passed: 0, failed: 0, skipped: 0 };
let code = 1;
try {
  checkNodeVersion();
  await ensureInstalled(log);
  await ensureBuilt(log);
  const dir = makeRunFolder();
  started.push(async () => rmSync(dir, { recursive: true, force: true }));
  const python = await providePython();
  const faultReport = join(dir, 'faults.jsonl');
  const env = { TEST_PYTHON: python, TEST_FAULT_REPORT: faultReport, ...(await provideServers(dir)) };
  const reportFile = join(dir, 'jest.json');
  code = await runJest(process.argv.slice(2), env, reportFile);
  counts = readCounts(reportFile);
  if (existsSync(faultReport)) console.log(faultTable(readFileSync(faultReport, 'utf8')));
} catch (error) {
  if (interruptedAt === 0) console.error(error instanceof Error ? error.message : error);
}
if (interruptedAt === 0) {
  await stopEverything();
  finish(counts, code);
}
