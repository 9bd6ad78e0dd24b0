import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';

const SHELL = '/bin/sh';
/**
 * Waits for a line on its input, then becomes the program: same process, same id, same start time. When the input ends
 * without one, it ends. So nothing runs that is not on file: the file is written between the start and that line.
 */
const GATE = 'read -r go && exec "$@" </dev/null';
/** What a POSIX shell ends with when the program is there but cannot be run, and when it is not there. */
const NOT_STARTED: readonly unknown[] = [126, 127];

export interface Launch {
  command: readonly string[];
  environment: Record<string, string>;
  /** stdout and stderr are appended to it. */
  logFile: string;
}

/** A process that waits at the gate. */
export interface GatedProcess {
  child: ChildProcess;
  /** It becomes the program. */
  open(): void;
  /** It ends without having become the program. */
  giveUp(): void;
}

/** Starts a process in a session of its own: it outlives this one, and no Ctrl-C of our terminal reaches it. */
export function startGated({ command, environment, logFile }: Launch): GatedProcess {
  const log = openSync(logFile, 'a', 0o600);
  try {
    const child = spawn(SHELL, ['-c', GATE, 'worker', ...command], {
      detached: true,
      env: environment,
      stdio: ['pipe', log, log],
    });
    const input = child.stdin!;
    // It may have ended already; its exit says so.
    input.on('error', () => undefined);
    child.unref();
    return { child, open: () => void input.end('go\n'), giveUp: () => void input.destroy() };
  } finally {
    closeSync(log);
  }
}

/** Whether it ended at the gate: there is no such program, or it cannot be run. */
export const neverStarted = (code: number | null): boolean => NOT_STARTED.includes(code);

/**
 * @param target a process; negative: the group that it leads
 * @returns false if there is no such process
 * @throws RangeError for 0, 1 and -1, which mean our own group, the system's first process, and everybody
 */
export function signalProcess(target: number, signal: NodeJS.Signals): boolean {
  if (!(Math.abs(target) > 1)) throw new RangeError(`expected the id of a worker's process, got ${target}`);
  try {
    process.kill(target, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}
