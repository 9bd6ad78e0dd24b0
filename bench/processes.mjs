/** The processes that a run starts: one list, so that all of them end with it, however it ends. */
import { spawn } from 'node:child_process';
import { endProcess, startGuard } from '../scripts/processes.mjs';

const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 40_000;
const KEPT_OUTPUT = 20_000;

/**
 * @typedef {object} Child
 * @property {string} name
 * @property {number} pid
 * @property {() => string} output the end of what it said
 * @property {(line: string) => Promise<void>} command writes a line to its input; resolves when it says `done`
 * @property {() => Promise<void>} ended by itself; rejects when it failed
 * @property {() => Promise<void>} stop SIGTERM, then waits
 *
 * @typedef {object} StartOptions
 * @property {Record<string, string | undefined>} [env] beside PATH, HOME and LANG; nothing else is handed on
 * @property {string} [cwd]
 * @property {RegExp} [readyWhen] waits until the output matches; default: waits for nothing
 * @property {(text: string) => void} [onOutput] told of everything it says
 *
 * @typedef {ReturnType<typeof createProcesses>} Processes
 */

export function createProcesses() {
  const guard = startGuard();
  /** @type {Set<Child>} */
  const running = new Set();
  const watch = () => guard.watch([...running].map(({ pid }) => -pid));
  const forget = (/** @type {Child} */ child) => {
    running.delete(child);
    watch();
  };

  /**
   * @param {string} name
   * @param {string} command
   * @param {string[]} args
   * @param {StartOptions} [options]
   * @returns {Promise<Child>}
   */
  async function start(name, command, args, { env = {}, cwd, readyWhen, onOutput } = {}) {
    // A process group of its own: Ctrl-C in the terminal must reach the run alone, which then stops things in order.
    const process = spawn(command, args, {
      cwd,
      env: { ...inherited(), ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    });
    process.stdin.on('error', () => {});
    const said = collectOutput(process);
    if (onOutput) process.stdout.on('data', (chunk) => onOutput(chunk.toString().trimEnd()));
    const exited = new Promise((resolve) => process.once('exit', resolve));
    await new Promise((resolve, reject) => process.once('spawn', resolve).once('error', reject));
    const child = {
      name,
      pid: /** @type {number} */ (process.pid),
      output: said.text,
      async command(/** @type {string} */ line) {
        const done = said.next(/^done$/m);
        process.stdin.write(`${line}\n`);
        await Promise.race([done, exited.then(() => Promise.reject(ended(child)))]);
      },
      async ended() {
        const code = await exited;
        forget(child);
        if (code !== 0) throw ended(child);
      },
      async stop() {
        await endProcess(child.pid, { timeoutMs: STOP_TIMEOUT_MS });
        await exited;
        forget(child);
      },
    };
    running.add(child);
    watch();
    if (readyWhen) await ready(child, said, exited, readyWhen);
    return child;
  }

  return {
    start,
    /** A file of ours as a Node process. */
    startNode: (
      /** @type {string} */ name,
      /** @type {string[]} */ args,
      /** @type {StartOptions} */ options,
    ) => start(name, process.execPath, args, options),
    async stopAll() {
      await Promise.all([...running].map((child) => child.stop()));
      guard.release();
    },
  };
}

/** @param {import('node:child_process').ChildProcess} process */
function collectOutput(process) {
  let text = '';
  /** @type {Set<() => void>} */
  const listeners = new Set();
  const keep = (/** @type {Buffer} */ chunk) => {
    text = (text + chunk.toString()).slice(-KEPT_OUTPUT);
    for (const listener of listeners) listener();
  };
  process.stdout?.on('data', keep);
  process.stderr?.on('data', keep);
  return {
    text: () => text,
    onMore: (/** @type {() => void} */ listener) => void listeners.add(listener),
    /** Resolves when what it says from now on matches. */
    next(/** @type {RegExp} */ pattern) {
      text = '';
      return new Promise((/** @type {(value?: unknown) => void} */ resolve) => {
        const listener = () => {
          if (!pattern.test(text)) return;
          listeners.delete(listener);
          resolve();
        };
        listeners.add(listener);
      });
    },
  };
}

/** @param {Child} child */
function ended(child) {
  return new Error(`Expected ${child.name} to go on; it ended. It said:\n${child.output()}`);
}

/**
 * @param {Child} child
 * @param {ReturnType<typeof collectOutput>} said
 * @param {Promise<unknown>} exited
 * @param {RegExp} readyWhen
 * @returns {Promise<void>}
 */
async function ready(child, said, exited, readyWhen) {
  const failure = (/** @type {string} */ what) =>
    new Error(
      `Expected ${child.name} to say ${readyWhen} within ${START_TIMEOUT_MS / 1000} s; ${what}. It said:\n${said.text()}`,
    );
  let timer;
  try {
    await new Promise((/** @type {(value?: unknown) => void} */ resolve, reject) => {
      const look = () => readyWhen.test(said.text()) && resolve();
      said.onMore(look);
      look();
      timer = setTimeout(() => reject(failure('it did not')), START_TIMEOUT_MS);
      void exited.then((code) => reject(failure(`it ended with ${code}`)));
    });
  } finally {
    clearTimeout(timer);
  }
}

function inherited() {
  const { PATH, HOME, LANG } = process.env;
  return { PATH, HOME, LANG };
}
