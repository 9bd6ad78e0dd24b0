import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ProcessPlace } from './process-table.js';

/** What has to be known of a worker to find it again, and to be sure that it is the one. */
export interface WorkerState extends ProcessPlace {
  pid: number;
  /** As the process table gives it. */
  startTime: string;
  workerClass: string;
  /** Wall clock, ms. */
  startedAtMs: number;
  /** It has been sent its SIGTERM, or is about to be. */
  retiring: boolean;
}

const ID = /^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$/;
const STATE = '.json';
const OURS = /\.(?:json|log|offset|tmp)$/;
/** A file without a state file that is younger may be of a worker that is being started at this moment. */
const LEFTOVER_AGE_MS = 60_000;

/** The folder of a machine's workers: `<workerId>.json` (its state), `.log` (its output), `.offset` (how much was passed on). */
export class WorkerFiles {
  constructor(private readonly folder: string) {}

  /** @throws Error if there is no such folder, and it cannot be made */
  make(): void {
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
  }

  /** Removes what a start, or a machine, that was cut off left behind. */
  tidy(): void {
    const known = new Set(this.ids().filter((workerId) => this.read(workerId) !== null));
    const leftovers = readdirSync(this.folder).filter(
      (name) => OURS.test(name) && !known.has(name.replace(OURS, '')),
    );
    for (const name of leftovers) {
      const file = join(this.folder, name);
      const { mtimeMs } = statSync(file, { throwIfNoEntry: false }) ?? {};
      if (mtimeMs !== undefined && Date.now() - mtimeMs > LEFTOVER_AGE_MS) rmSync(file, { force: true });
    }
  }

  /** Of every worker that has a state file. */
  ids(): string[] {
    return readdirSync(this.folder)
      .filter((name) => name.endsWith(STATE))
      .map((name) => name.slice(0, -STATE.length))
      .filter((id) => ID.test(id));
  }

  /** @returns null if there is no such file any more, or it does not hold a state: not one that was written here */
  read(workerId: string): WorkerState | null {
    try {
      const state = JSON.parse(readFileSync(this.path(workerId, STATE), 'utf8')) as unknown;
      return isState(state) ? state : null;
    } catch {
      return null;
    }
  }

  /** Whole or not at all: a reader never sees half of it. */
  write(workerId: string, state: WorkerState): void {
    const draft = this.path(workerId, '.tmp');
    writeFileSync(draft, `${JSON.stringify(state)}\n`, { mode: 0o600 });
    renameSync(draft, this.path(workerId, STATE));
  }

  /** The state goes last: what is left of a removal that was cut off is removed by the next. */
  remove(workerId: string): void {
    for (const end of ['.tmp', '.offset', '.log', STATE]) rmSync(this.path(workerId, end), { force: true });
  }

  logFile(workerId: string): string {
    return this.path(workerId, '.log');
  }

  offsetFile(workerId: string): string {
    return this.path(workerId, '.offset');
  }

  private path(workerId: string, end: string): string {
    return join(this.folder, `${workerId}${end}`);
  }
}

const TYPES: Readonly<Record<keyof WorkerState, string>> = {
  host: 'string',
  boot: 'string',
  pid: 'number',
  startTime: 'string',
  workerClass: 'string',
  startedAtMs: 'number',
  retiring: 'boolean',
};

/** 0 and 1 are nobody's worker, and a negative number would mean a whole group of processes. */
function isState(value: unknown): value is WorkerState {
  if (typeof value !== 'object' || value === null) return false;
  const fields = value as Record<string, unknown>;
  return (
    Object.entries(TYPES).every(([name, type]) => typeof fields[name] === type) &&
    Number.isInteger(fields.pid) &&
    (fields.pid as number) > 1
  );
}
