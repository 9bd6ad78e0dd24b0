import type { WorkerExit } from '../worker-driver.js';

/**
 * What the log says of an end that nobody asked for; null if there is nothing to say beyond the `exit` itself.
 * @param words what the worker wrote last
 */
export function endWarning(exit: WorkerExit, words: readonly string[]): string | null {
  if (exit.retiring || exit.code === 0) return null;
  return `worker ${exit.workerId} ended without being asked: ${howOf(exit)}${said(words)}`;
}

/** For a worker of which no process came to be. @param reason of the system; else the shell has written why */
export function launchWarning(workerId: string, reason: string | null, words: readonly string[]): string {
  const why = reason === null ? said(words) : `: ${reason}`;
  return `worker ${workerId} could not be started, see WORKER_COMMAND${why}`;
}

/** For a worker that a new term finds on file, and not among the processes. */
export function absenceWarning(workerId: string, retiring: boolean, words: readonly string[]): string | null {
  return retiring ? null : `worker ${workerId} ended while nobody led${said(words)}`;
}

function howOf({ code, signal, livedMs }: WorkerExit): string {
  const how =
    signal ??
    (code === null ? 'how is not known, it was another process that started it' : `exit code ${code}`);
  return `${how}, ${(livedMs / 1000).toFixed(1)} s after its start`;
}

function said(words: readonly string[]): string {
  return words.length === 0
    ? ' (it wrote nothing)'
    : `; it wrote last:\n${words.map((line) => `  ${line}`).join('\n')}`;
}
