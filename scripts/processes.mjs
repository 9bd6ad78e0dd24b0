/**
 * Child processes, ports and waiting, for the launchers in this folder. Node built-ins only: these files run
 * before `npm ci` has installed anything.
 */
import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Runs a command to its end and collects what it printed. Rejects only when the command cannot be started.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {import('node:child_process').SpawnOptions & { timeoutMs?: number }} [options] `timeoutMs`: SIGKILL after it; default none
 * @returns {Promise<{ code: number, stdout: string, stderr: string }>} `code` is 128 for a command ended by a signal
 */
export function run(command, args, { timeoutMs, ...options } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
      ...options,
    });
    const output = { stdout: '', stderr: '' };
    child.stdout?.setEncoding('utf8').on('data', (text) => (output.stdout += text));
    child.stderr?.setEncoding('utf8').on('data', (text) => (output.stderr += text));
    child.once('error', reject);
    child.once('close', (code) => resolve({ code: code ?? 128, ...output }));
  });
}

/**
 * Whether a command can be started and ends with 0.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {number} [timeoutMs] default 15 s
 */
export async function succeeds(command, args, timeoutMs = 15_000) {
  try {
    return (await run(command, args, { timeoutMs })).code === 0;
  } catch {
    return false;
  }
}

/**
 * The first executable file called `name`, on PATH and then in `extraDirs`.
 *
 * @param {string} name
 * @param {string[]} [extraDirs]
 * @param {(path: string) => boolean} [accept] refuses a hit that is not what is wanted
 * @returns {string | undefined}
 */
export function findExecutable(name, extraDirs = [], accept = () => true) {
  const onPath = (process.env.PATH ?? '').split(delimiter).filter((dir) => dir !== '');
  return [...onPath, ...extraDirs]
    .map((dir) => join(dir, name))
    .find((path) => isExecutable(path) && accept(path));
}

/** @param {string} path */
export function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** @param {number | undefined} pid */
export function isAlive(pid) {
  if (pid === undefined) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it lives, and belongs to someone else.
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM';
  }
}

/**
 * Asks again and again until the answer is neither undefined nor false.
 *
 * @template T
 * @param {() => T | Promise<T>} ask
 * @param {{ timeoutMs: number, everyMs?: number }} options
 * @returns {Promise<T | undefined>} undefined once the time is over
 */
export async function waitUntil(ask, { timeoutMs, everyMs = 50 }) {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (Date.now() >= deadline) return undefined;
    await sleep(everyMs);
  }
}

/**
 * Sends a signal, waits for the process to end, and kills it when it does not.
 *
 * @param {number | undefined} pid
 * @param {{ signal?: NodeJS.Signals, timeoutMs?: number }} [options] default SIGTERM, 30 s
 * @returns {Promise<boolean>} false when it had to be killed
 */
export async function endProcess(pid, { signal = 'SIGTERM', timeoutMs = 30_000 } = {}) {
  if (pid === undefined || !signalProcess(pid, signal)) return true;
  if (await waitUntil(() => !isAlive(pid), { timeoutMs, everyMs: 20 })) return true;
  signalProcess(pid, 'SIGKILL');
  await waitUntil(() => !isAlive(pid), { timeoutMs: 5_000, everyMs: 20 });
  return false;
}

/**
 * @param {number} pid
 * @param {NodeJS.Signals} signal
 * @returns {boolean} false when there is no such process any more
 */
export function signalProcess(pid, signal) {
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'ESRCH') return false;
    throw error;
  }
}

// Reads lines of process ids (a negative one means a process group) and keeps the last. When its input ends,
// which happens however the owner ends, SIGKILL included, it ends those processes: 15 s of grace, then SIGKILL.
const GUARD = `
trap '' HUP INT TERM
ids=
while read -r line; do ids=$line; done
[ -n "$ids" ] || exit 0
for id in $ids; do kill -s TERM -- "$id" 2>/dev/null; done
for turn in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
  left=
  for id in $ids; do kill -s 0 -- "$id" 2>/dev/null && left=yes; done
  [ -n "$left" ] || exit 0
  sleep 1
done
for id in $ids; do kill -s KILL -- "$id" 2>/dev/null; done
`;

/**
 * A small shell process that outlives this one just long enough to end what this one started. Exit handlers would
 * not do: nothing in this process runs after SIGKILL or a crash.
 *
 * @returns {{ watch(ids: number[]): void, release(): void }} `watch` replaces the list; `release` ends the guard and nothing else
 */
export function startGuard() {
  const guard = spawn('/bin/sh', ['-c', GUARD], { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
  const input = /** @type {import('node:net').Socket} */ (guard.stdin);
  input.on('error', () => {});
  guard.unref();
  input.unref();
  return {
    watch: (ids) => void input.write(`${ids.join(' ')}\n`),
    release: () => void input.end('\n'),
  };
}

// Below the range from which the kernel takes ports for outgoing connections: a port given up during a restart is
// then still free when the server comes back to it.
const FIRST_PORT = 20_000;
const LAST_PORT = 31_999;

/**
 * A TCP port that is free on 127.0.0.1. Nobody else gets it from here while this process lives, whether its server runs,
 * has yet to start or is being restarted.
 */
export async function freePort() {
  for (let attempt = 0; attempt < 200; attempt++) {
    const port = FIRST_PORT + Math.floor(Math.random() * (LAST_PORT - FIRST_PORT + 1));
    if ((await isPortFree(port)) && (await reserve(port))) return port;
  }
  throw new Error(
    `Expected a free TCP port on 127.0.0.1 between ${FIRST_PORT} and ${LAST_PORT}; 200 tries found none. Close programs that listen there.`,
  );
}

/**
 * By the UDP port of the same number, which none of the servers uses: the kernel gives it to one process and takes it back
 * when that ends, however it ends.
 *
 * @param {number} port
 * @returns {Promise<boolean>} false: another process has it, or this one had it before
 */
function reserve(port) {
  return new Promise((resolve) => {
    const socket = createSocket('udp4').unref();
    socket.once('error', () => socket.close(() => resolve(false)));
    socket.bind({ port, address: '127.0.0.1', exclusive: true }, () => resolve(true));
  });
}

/**
 * @param {number} port
 * @returns {Promise<boolean>}
 */
export function isPortFree(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/**
 * Connects, sends some bytes and gives back the first ones that are answered.
 *
 * @param {{ host: string, port: number, request: Buffer, timeoutMs?: number }} options
 * @returns {Promise<Buffer>}
 */
export function firstAnswer({ host, port, request, timeoutMs = 5_000 }) {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    const settle = (/** @type {() => void} */ finish) => {
      socket.destroy();
      finish();
    };
    socket.setTimeout(timeoutMs, () => settle(() => reject(new Error(`no answer within ${timeoutMs} ms`))));
    socket.once('connect', () => socket.write(request));
    socket.once('data', (bytes) => settle(() => resolve(bytes)));
    socket.once('error', (error) => settle(() => reject(error)));
    socket.once('end', () => settle(() => reject(new Error('the connection was closed without an answer'))));
  });
}

/**
 * The last lines of a text file; empty when there is none.
 *
 * @param {string} path
 * @param {number} [lines]
 */
export function lastLines(path, lines = 20) {
  try {
    return readFileSync(path, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  } catch {
    return '';
  }
}
