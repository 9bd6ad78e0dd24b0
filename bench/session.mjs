/** A run of the benchmark from the outside: folder, servers and processes, and the end of all of them. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { CHECKOUT, checkNodeVersion, ensureBuilt, ensureInstalled } from '../scripts/checkout.mjs';
import { createJournal } from './journal.mjs';
import { createProcesses } from './processes.mjs';
import { createServers } from './servers.mjs';
import { settle } from './waiting.mjs';

const BENCH = join(CHECKOUT, 'bench');

/** @param {string} message */
export const log = (message) => console.error(message);

/** What must be there before any package of ours or theirs can be imported. */
export async function prepare() {
  checkNodeVersion();
  await ensureInstalled(log);
  await ensureBuilt(log);
  await ensurePeersInstalled();
}

/** `npm ci` in this folder when its packages are missing or older than its lock. */
async function ensurePeersInstalled() {
  const installed = join(BENCH, 'node_modules', '.package-lock.json');
  const lock = statSync(join(BENCH, 'package-lock.json'));
  if (existsSync(installed) && statSync(installed).mtimeMs >= lock.mtimeMs) return;
  log("▸ Installing the peers' packages (npm ci in bench/)");
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  const npm = spawn('npm', args, { cwd: BENCH, stdio: ['ignore', 2, 2] });
  const code = await new Promise((resolve, reject) => npm.once('exit', resolve).once('error', reject));
  if (code !== 0)
    throw new Error(`Expected \`npm ${args.join(' ')}\` in bench/ to succeed; it ended with ${code}.`);
}

/**
 * Runs `action` between servers that are started on demand, and stops everything after it or on Ctrl-C.
 *
 * @param {(surroundings: import('./contestants/contestant.mjs').Surroundings) => Promise<void>} action
 * @param {{ inUse?: boolean }} [options] `inUse`: the servers are as if they had run for a while; default true
 * @returns {Promise<number>} exit code
 */
export async function withServers(action, { inUse = true } = {}) {
  mkdirSync(join(CHECKOUT, '.data'), { recursive: true });
  const dir = mkdtempSync(join(CHECKOUT, '.data', 'bench-'));
  const processes = createProcesses();
  const servers = createServers({ dir, processes, log: (message) => log(`▸ ${message}`), inUse });
  let interrupted = false;
  const cleanUp = async () => {
    await processes.stopAll();
    await servers.stop();
    rmSync(dir, { recursive: true, force: true });
  };
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
    process.on(signal, () => {
      if (interrupted) return;
      interrupted = true;
      log('▸ Stopping');
      // What breaks while its servers are taken away is no news.
      process.on('uncaughtException', () => {});
      process.on('unhandledRejection', () => {});
      void cleanUp().finally(() => process.exit(130));
    });
  }
  try {
    await action({ servers, processes, dir, journal: createJournal(log), settle, log });
    return 0;
  } catch (error) {
    if (!interrupted) log(error instanceof Error ? (error.stack ?? error.message) : String(error));
    return 1;
  } finally {
    if (interrupted) await new Promise(() => {});
    await cleanUp();
  }
}
