import type { ChildProcess } from 'node:child_process';
import type { WorkerExit, WorkerInstance } from '../worker-driver.js';
import { LogTail } from './log-tail.js';
import type { ProcessTable } from './process-table.js';
import type { WorkerFiles, WorkerState } from './worker-files.js';
import { signalProcess } from './worker-process.js';

export interface WorkerContext {
  files: WorkerFiles;
  table: ProcessTable;
  /** From its SIGTERM, or from the moment it was adopted with one, to its SIGKILL. */
  killAfterMs: number;
  onLine: (workerId: string, line: string) => void;
  warn: (message: string) => void;
}

/** A worker that runs, as a child of this process or adopted by its state on file. */
export class RunningWorker {
  private readonly since = performance.now();
  private readonly tail: LogTail;
  private killAt = Infinity;
  private hasWarned = false;

  /** @param child null if another process started it */
  constructor(
    readonly workerId: string,
    private state: WorkerState,
    private readonly child: ChildProcess | null,
    private readonly context: WorkerContext,
  ) {
    const { files, onLine, killAfterMs } = context;
    this.tail = new LogTail({
      file: files.logFile(workerId),
      offsetFile: files.offsetFile(workerId),
      onLine: (line) => onLine(workerId, line),
    });
    this.guard(() => this.tail.open());
    if (state.retiring) this.killAt = this.since + killAfterMs;
  }

  get instance(): WorkerInstance {
    const { workerClass, retiring, startedAtMs } = this.state;
    return { workerId: this.workerId, workerClass, retiring, startedAtMs };
  }

  get isAdopted(): boolean {
    return this.child === null;
  }

  get pid(): number {
    return this.state.pid;
  }

  get isOverdue(): boolean {
    return performance.now() >= this.killAt;
  }

  /** @param startTimes of the processes that run */
  isAmong(startTimes: ReadonlyMap<number, string>): boolean {
    return startTimes.get(this.state.pid) === this.state.startTime;
  }

  /**
   * Asks it to end; on file first, because a second SIGTERM would end it at once, in whoever's term.
   * @throws Error if that cannot be written or sent
   */
  retire(): void {
    if (this.state.retiring) return;
    const retiring = { ...this.state, retiring: true };
    this.context.files.write(this.workerId, retiring);
    this.state = retiring;
    this.killAt = performance.now() + this.context.killAfterMs;
    this.signal('SIGTERM', this.state.pid);
  }

  /** It, and whatever it has started that is still there: it leads a process group. */
  kill(): void {
    this.killAt = Infinity;
    this.context.warn(
      `worker ${this.workerId} did not end within ${this.context.killAfterMs} ms after it was asked to: it is killed`,
    );
    this.guard(() => this.signal('SIGKILL', -this.state.pid));
  }

  /** Passes on what it has written. */
  passOn(): void {
    this.guard(() => this.tail.turn());
  }

  /** It has ended: the rest of what it wrote is passed on. @returns how it ended */
  ended(code: number | null, signal: string | null): WorkerExit {
    this.guard(() => this.tail.finish());
    const { workerClass, startedAtMs } = this.state;
    // A leader that does not know yet that it was replaced may have asked it.
    const retiring = this.state.retiring || this.context.files.read(this.workerId)?.retiring === true;
    const livedMs = this.isAdopted ? Math.max(0, Date.now() - startedAtMs) : performance.now() - this.since;
    return { workerId: this.workerId, workerClass, retiring, code, signal, livedMs };
  }

  /** The term is over: it is no longer looked at. */
  leave(): void {
    this.child?.removeAllListeners('exit');
    this.guard(() => this.tail.turn());
    this.tail.close();
  }

  private signal(signal: NodeJS.Signals, target: number): void {
    const runs = this.child
      ? this.child.exitCode === null && this.child.signalCode === null
      : this.isAmong(this.context.table.startTimes([this.state.pid]));
    if (runs) signalProcess(target, signal);
  }

  /** What goes wrong with its output or its kill takes nothing else along; said once. */
  private guard(step: () => void): void {
    try {
      step();
    } catch (error) {
      if (!this.hasWarned) this.context.warn(`worker ${this.workerId}: ${(error as Error).message}`);
      this.hasWarned = true;
    }
  }
}
