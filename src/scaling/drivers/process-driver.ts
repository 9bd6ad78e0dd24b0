import type { ChildProcess } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { WorkerClass } from '../../config/worker-class.js';
import { type PoolWish, WorkerDriver, type WorkerInstance } from '../worker-driver.js';
import { planFor } from './process-plan.js';
import { processTable } from './process-table.js';
import { RunningWorker, type WorkerContext } from './running-worker.js';
import { childEnvironment } from './worker-environment.js';
import { absenceWarning, endWarning, launchWarning } from './worker-exit.js';
import { WorkerFiles, type WorkerState } from './worker-files.js';
import { lastWords, type OutputForm, passedOn } from './worker-output.js';
import { neverStarted, startGated } from './worker-process.js';

/** Nest's `Logger` fits. */
export interface DriverLogger {
  log(message: string): void;
  warn(message: string): void;
}

export interface ProcessDriverOptions {
  /**
   * Where it keeps the state and the output of the workers (`<DATA_DIR>/workers`); made if it is not there. All
   * orchestrators of one machine that drive the same pool use the same one.
   */
  folder: string;
  /** The orchestrator's environment. Workers inherit what is theirs: see `childEnvironment`. */
  environment: Readonly<Record<string, string | undefined>>;
  /** Time a worker that was asked to end has for what it runs (`WORKER_DRAIN_DEADLINE_MS`). */
  drainDeadlineMs: number;
  logger: DriverLogger;
  /**
   * Program and arguments (`WORKER_COMMAND`): the worker itself, or something that ends in `exec`, since SIGTERM goes to
   * this process alone. Empty or left out: the worker of this installation.
   */
  command?: readonly string[];
  /** Time beyond the deadline for handing back and saying goodbye; then SIGKILL. Default 10,000 ms. */
  graceMs?: number;
  /** Takes each line that a worker writes. Default: stdout. */
  output?: (line: string) => void;
  /** Form of these lines; `json` where the orchestrator's own log is JSON. Default `text`: `[<workerId>] …`. */
  outputForm?: OutputForm;
}

const DEFAULT_GRACE_MS = 10_000;
const ID_LETTERS = 'abcdefghijklmnopqrstuvwxyz0123456789';
const ID_LENGTH = 8;

/** The worker of this installation. */
const OWN_WORKER = [process.execPath, fileURLToPath(new URL('../../worker.main.js', import.meta.url))];

/**
 * `WORKER_DRIVER=process`: workers are processes of this machine, beside the orchestrator but not below it. They outlive
 * it, whatever ends it. The folder says which they are, so the next term, of this replica or another one on the same
 * machine, takes them over: a process counts as a worker only if both its id and its start time are those on file.
 *
 * A worker is asked to end with one SIGTERM, and killed only when drain deadline and grace are over, counted from the
 * moment this driver knew of it. It needs a POSIX system.
 */
export class ProcessDriver extends WorkerDriver {
  private readonly table = processTable();
  private readonly files: WorkerFiles;
  private readonly context: WorkerContext;
  private readonly workers = new Map<string, RunningWorker>();
  /** Runs during a term; null outside. */
  private looking: NodeJS.Timeout | null = null;
  /** Whether this term starts and retires workers: not any more once it shuts down. */
  private mayAct = false;
  private term = 0;
  /** Rounds, one after the other. */
  private rounds: Promise<void> = Promise.resolve();
  private onEmpty: () => void = () => undefined;

  constructor(private readonly options: ProcessDriverOptions) {
    super();
    const { folder, drainDeadlineMs, graceMs = DEFAULT_GRACE_MS, outputForm = 'text', logger } = options;
    const output = options.output ?? ((line) => void process.stdout.write(`${line}\n`));
    this.files = new WorkerFiles(folder);
    this.context = {
      files: this.files,
      table: this.table,
      killAfterMs: drainDeadlineMs + graceMs,
      onLine: (workerId, line) => output(passedOn(workerId, line, outputForm)),
      warn: (message) => logger.warn(message),
    };
  }

  async start(): Promise<void> {
    if (this.looking !== null) return;
    this.adopt();
    this.files.tidy();
    this.looking = setInterval(() => this.look(), this.table.lookMs).unref();
    this.mayAct = true;
    this.term++;
  }

  async stop(): Promise<void> {
    clearInterval(this.looking ?? undefined);
    this.looking = null;
    this.mayAct = false;
    for (const worker of this.workers.values()) worker.leave();
    this.workers.clear();
    this.onEmpty();
  }

  reconcile(wishes: readonly PoolWish[]): Promise<void> {
    const round = this.rounds.then(() => this.round(wishes));
    this.rounds = round.catch(() => undefined);
    return round;
  }

  async instances(): Promise<WorkerInstance[] | null> {
    if (this.looking === null) return null;
    this.adopt();
    this.look();
    return this.listed();
  }

  async shutdown(timeoutMs: number): Promise<void> {
    if (this.looking === null) return;
    this.mayAct = false;
    const faults = attempt(() => this.adopt());
    faults.push(...this.retirements([...this.workers.keys()]).flatMap(attempt));
    faults.forEach((fault) => this.context.warn(fault));
    await this.untilEmpty(timeoutMs);
    const left = [...this.workers.keys()];
    if (left.length > 0) this.options.logger.log(`still draining, and left to it: ${left.join(', ')}`);
    await this.stop();
  }

  // ---- rounds --------------------------------------------------------------------------------------------------

  private async round(wishes: readonly PoolWish[]): Promise<void> {
    if (!this.mayAct) return;
    const { term } = this;
    const isOver = (): boolean => !this.mayAct || this.term !== term;
    const faults: string[] = [];
    this.adopt();
    this.look();
    for (const wish of wishes) {
      if (isOver()) return;
      const { starts, retire } = planFor(wish, this.listed());
      faults.push(...this.retirements(retire).flatMap(attempt));
      for (let count = 0; count < starts && !isOver(); count++) {
        faults.push(...attempt(() => this.launch(wish.workerClass)));
        // A start takes milliseconds in which nothing else can run.
        await nextTurn();
      }
    }
    if (faults.length > 0) throw new Error([...new Set(faults)].join('; '));
  }

  private listed(): WorkerInstance[] {
    return [...this.workers.values()].map(({ instance }) => instance);
  }

  private retirements(workerIds: string[]): (() => void)[] {
    return workerIds.map((workerId) => () => this.workers.get(workerId)?.retire());
  }

  // ---- beginnings ----------------------------------------------------------------------------------------------

  /** @throws Error if the worker cannot be put on file; then there is none */
  private launch(workerClass: WorkerClass): void {
    const { environment, drainDeadlineMs, command = [] } = this.options;
    const workerId = `${workerClass.name}-${randomLetters()}`;
    const gated = startGated({
      command: command.length > 0 ? command : OWN_WORKER,
      environment: childEnvironment({ environment, workerId, workerClass, drainDeadlineMs }),
      logFile: this.files.logFile(workerId),
    });
    const { pid } = gated.child;
    if (pid === undefined) {
      gated.child.once('error', ({ message }) => this.failed(workerId, workerClass.name, message));
      return;
    }
    try {
      const state = this.newState(pid, workerClass.name);
      this.files.write(workerId, state);
      this.watch(new RunningWorker(workerId, state, gated.child, this.context), gated.child);
    } catch (error) {
      gated.giveUp();
      this.files.remove(workerId);
      throw error;
    }
    gated.open();
  }

  private newState(pid: number, workerClass: string): WorkerState {
    const startTime = this.table.startTimes([pid]).get(pid) ?? '';
    return { ...this.table.place, pid, startTime, workerClass, startedAtMs: Date.now(), retiring: false };
  }

  private watch(worker: RunningWorker, child: ChildProcess): void {
    this.workers.set(worker.workerId, worker);
    child.once('exit', (code, signal) => this.ended(worker, code, signal));
  }

  /** Takes over what is on file and runs, and removes what is on file and does not. */
  private adopt(): void {
    this.files.make();
    const found = this.files.ids().filter((workerId) => !this.workers.has(workerId));
    const states = found.map((workerId) => [workerId, this.files.read(workerId)] as const);
    const startTimes = this.table.startTimes(states.flatMap(([, state]) => (state ? [state.pid] : [])));
    for (const [workerId, state] of states) if (state) this.adoptOne(workerId, state, startTimes);
  }

  private adoptOne(workerId: string, state: WorkerState, startTimes: ReadonlyMap<number, string>): void {
    const { host, boot } = this.table.place;
    const isHere = state.boot === boot;
    // On another machine or in another container: whether it runs cannot be seen from here.
    if (!isHere && state.host !== host) return;
    const worker = new RunningWorker(workerId, state, null, this.context);
    if (isHere && worker.isAmong(startTimes)) {
      this.workers.set(workerId, worker);
      this.options.logger.log(`worker ${workerId} runs already (process ${state.pid}): it is taken over`);
      return;
    }
    worker.ended(null, null);
    this.cleanUp(workerId, (words) => absenceWarning(workerId, state.retiring, words));
  }

  // ---- ends ----------------------------------------------------------------------------------------------------

  private look(): void {
    const workers = [...this.workers.values()];
    const adopted = workers.filter(({ isAdopted }) => isAdopted);
    const startTimes = this.table.startTimes(adopted.map(({ pid }) => pid));
    workers.forEach((worker) => worker.passOn());
    workers.filter(({ isOverdue }) => isOverdue).forEach((worker) => worker.kill());
    const gone = adopted.filter((worker) => !worker.isAmong(startTimes));
    gone.forEach((worker) => this.ended(worker, null, null));
  }

  private ended(worker: RunningWorker, code: number | null, signal: string | null): void {
    const exit = worker.ended(code, signal);
    this.workers.delete(worker.workerId);
    if (neverStarted(code) && !exit.retiring) {
      this.failed(exit.workerId, exit.workerClass, null);
    } else {
      this.cleanUp(exit.workerId, (words) => endWarning(exit, words));
      this.emit('exit', exit);
    }
    if (this.workers.size === 0) this.onEmpty();
  }

  /** @param reason null if the shell has written it */
  private failed(workerId: string, workerClass: string, reason: string | null): void {
    this.cleanUp(workerId, (words) => launchWarning(workerId, reason, words));
    this.emit('exit', { workerId, workerClass, retiring: false, code: null, signal: null, livedMs: 0 });
  }

  private cleanUp(workerId: string, warning: (words: string[]) => string | null): void {
    const text = warning(lastWords(this.files.logFile(workerId)));
    if (text !== null) this.context.warn(text);
    attempt(() => this.files.remove(workerId)).forEach((fault) => this.context.warn(fault));
  }

  private untilEmpty(timeoutMs: number): Promise<void> {
    if (this.workers.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.onEmpty = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** Does it. @returns what went wrong */
function attempt(step: () => void): string[] {
  try {
    step();
    return [];
  } catch (error) {
    return [(error as Error).message];
  }
}

function randomLetters(): string {
  return Array.from({ length: ID_LENGTH }, () => ID_LETTERS[randomInt(ID_LETTERS.length)]).join('');
}
