/** What a fresh checkout needs before anything in it can run. Node built-ins only. */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder that holds package.json. */
export const CHECKOUT = resolve(dirname(fileURLToPath(import.meta.url)), '..');

const LEAST_NODE = [20, 19];

/** @param {string} [version] default: this process's */
export function checkNodeVersion(version = process.versions.node) {
  const [major, minor] = version.split('.').map(Number);
  const enough = major > LEAST_NODE[0] || (major === LEAST_NODE[0] && minor >= LEAST_NODE[1]);
  if (enough) return;
  throw new Error(
    `Expected Node ${LEAST_NODE.join('.')} or newer; this is ${version}. Install a current one from https://nodejs.org (or \`nvm install 24\`) and start again.`,
  );
}

/**
 * Runs `npm ci` when node_modules is missing or older than package-lock.json.
 *
 * @param {(message: string) => void} log
 */
export async function ensureInstalled(log) {
  // npm writes this file last, so an interrupted installation counts as none.
  const installed = modifiedAt(join(CHECKOUT, 'node_modules', '.package-lock.json'));
  if (installed >= modifiedAt(join(CHECKOUT, 'package-lock.json')) && installed > 0) return;
  log('Installing dependencies (npm ci)');
  await npm(['ci', '--no-audit', '--no-fund', '--loglevel=error']);
}

/**
 * Runs `npm run build` when dist is missing or older than a file it is made of.
 *
 * @param {(message: string) => void} log
 */
export async function ensureBuilt(log) {
  const built = modifiedAt(join(CHECKOUT, 'dist', 'main.js'));
  const sources = ['src', 'package-lock.json', 'tsconfig.json', 'nest-cli.json', '.swcrc'];
  const changed = Math.max(...sources.map((path) => newestIn(join(CHECKOUT, path))));
  if (built > 0 && built >= changed) return;
  log('Building (npm run build)');
  await npm(['run', 'build', '--silent']);
}

/**
 * npm with its output on stderr: the last line of stdout belongs to the launchers.
 *
 * @param {string[]} args
 * @returns {Promise<void>}
 */
function npm(args) {
  return new Promise((done, fail) => {
    const child = spawn('npm', args, {
      cwd: CHECKOUT,
      stdio: ['ignore', 2, 2],
      env: { ...process.env, npm_config_update_notifier: 'false' },
    });
    child.once('error', fail);
    child.once('exit', (code) => {
      if (code === 0) return done();
      fail(
        new Error(
          `Expected \`npm ${args.join(' ')}\` to succeed; it ended with ${code}. Its messages are above.`,
        ),
      );
    });
  });
}

/**
 * @param {string} path
 * @returns {number} 0 when it does not exist
 */
function modifiedAt(path) {
  return existsSync(path) ? statSync(path).mtimeMs : 0;
}

/**
 * The newest change of a file, or of anything in a folder (the folder too: a deleted file changes only that).
 *
 * @param {string} path
 * @returns {number}
 */
function newestIn(path) {
  if (!existsSync(path) || !statSync(path).isDirectory()) return modifiedAt(path);
  const children = readdirSync(path).map((name) => newestIn(join(path, name)));
  return Math.max(modifiedAt(path), ...children);
}
