import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { ProcessDriver, type ProcessDriverOptions } from '../../src/scaling/drivers/process-driver.js';
import { processTable } from '../../src/scaling/drivers/process-table.js';
import { WorkerFiles } from '../../src/scaling/drivers/worker-files.js';
import type { OutsideWorker, WorkerDriverAdapter } from './worker-driver.js';

export const DRAINING_WORKER = [process.execPath, resolve('test/support/draining-worker.mjs')];

interface Told {
  pid: number;
  workerClass: string;
  askedToEnd: number;
  environment: Record<string, string>;
}

/** Real processes of a small program, in a folder of the test's own. */
export class ProcessPlace {
  readonly root = mkdtempSync(join(tmpdir(), 'workers-'));
  readonly folder = join(this.root, 'workers');
  readonly control = join(this.root, 'control');
  /** What drivers wrote to their logger, and passed on. */
  readonly logged: string[] = [];
  readonly warned: string[] = [];
  readonly lines: string[] = [];

  constructor() {
    mkdirSync(this.control);
  }

  options(given: Partial<ProcessDriverOptions> = {}): ProcessDriverOptions {
    return {
      folder: this.folder,
      command: DRAINING_WORKER,
      drainDeadlineMs: 30_000,
      logger: { log: (text) => void this.logged.push(text), warn: (text) => void this.warned.push(text) },
      output: (line) => void this.lines.push(line),
      ...given,
      environment: { PATH: process.env.PATH, WORKER_CONTROL_DIR: this.control, ...given.environment },
    };
  }

  driver(given: Partial<ProcessDriverOptions> = {}): ProcessDriver {
    return new ProcessDriver(this.options(given));
  }

  /** Those that have said that they are ready, and run. */
  workers(): (OutsideWorker & Told)[] {
    const told = readdirSync(this.control)
      .filter((name) => name.endsWith('.json'))
      .map((name) => ({
        workerId: name.slice(0, -'.json'.length),
        ...(JSON.parse(readFileSync(join(this.control, name), 'utf8')) as Told),
      }));
    const running = processTable().startTimes(told.map(({ pid }) => pid));
    return told.filter(({ pid }) => running.has(pid));
  }

  pidOf(workerId: string): number {
    return this.workers().find((worker) => worker.workerId === workerId)!.pid;
  }

  /** What is on file of the driver. */
  files(): string[] {
    return readdirSync(this.folder).toSorted();
  }

  /** A file where the folder should be. */
  breakFolder(): void {
    renameSync(this.folder, `${this.folder}.away`);
    writeFileSync(this.folder, '');
  }

  mendFolder(): void {
    rmSync(this.folder);
    renameSync(`${this.folder}.away`, this.folder);
  }

  /** Ends what is on file and what has told of itself. A start that is under way is on file. */
  async end(): Promise<void> {
    for (const pid of [...this.workers().map((worker) => worker.pid), ...this.pidsOnFile()]) kill(pid);
    rmSync(this.root, { recursive: true, force: true });
  }

  /** As the driver reads them: whatever a test has put there, only a worker that runs is ended. */
  private pidsOnFile(): number[] {
    const files = new WorkerFiles(this.folder);
    files.make();
    const states = files.ids().flatMap((workerId) => files.read(workerId) ?? []);
    const running = processTable().startTimes(states.map(({ pid }) => pid));
    return states.filter(({ pid, startTime }) => running.get(pid) === startTime).map(({ pid }) => pid);
  }
}

/** Never a group, nor everybody (-1). */
function kill(pid: number): void {
  if (!(pid > 1)) throw new Error(`expected the id of a process to end, got ${pid}`);
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}

export function processAdapter(): WorkerDriverAdapter {
  let place: ProcessPlace;
  return {
    knowsInstances: true,
    seesCrashes: true,
    endsOnShutdown: true,
    endsOnlyWhomItIsTold: true,
    begin: async () => {
      place = new ProcessPlace();
    },
    create: () => place.driver(),
    outside: async () =>
      place.workers().map(({ workerId, workerClass, askedToEnd }) => ({ workerId, workerClass, askedToEnd })),
    finish: async (workerId) => void process.kill(place.pidOf(workerId), 'SIGUSR2'),
    crash: async (workerId) => void process.kill(place.pidOf(workerId), 'SIGKILL'),
    breakPlace: async () => place.breakFolder(),
    mendPlace: async () => place.mendFolder(),
    end: () => place.end(),
  };
}
