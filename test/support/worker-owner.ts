import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { WorkerClass } from '../../src/config/worker-class.js';
import type { ProcessDriverOptions } from '../../src/scaling/drivers/process-driver.js';
import type { PoolWish, WorkerExit, WorkerInstance } from '../../src/scaling/worker-driver.js';

type Answer = { value: unknown } | { error: string };

/** A process driver in a process of its own (`process-owner.mjs`), which can be killed, stopped and continued. */
export class WorkerOwner {
  readonly exits: WorkerExit[] = [];
  /** What its workers wrote, as it was passed on. */
  readonly lines: string[] = [];
  readonly warned: string[] = [];
  private readonly child: ChildProcess;
  private readonly waiting: ((answer: Answer) => void)[] = [];

  constructor(options: Partial<ProcessDriverOptions>) {
    const args = ['test/support/process-owner.mjs', JSON.stringify(options)];
    this.child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.child.stdin!.on('error', () => undefined);
    createInterface({ input: this.child.stdout! }).on('line', (line) => this.hear(JSON.parse(line)));
  }

  start(): Promise<void> {
    return this.ask('start');
  }

  stop(): Promise<void> {
    return this.ask('stop');
  }

  reconcile(wishes: PoolWish[]): Promise<void> {
    return this.ask('reconcile', wishes);
  }

  instances(): Promise<WorkerInstance[]> {
    return this.ask('instances');
  }

  shutdown(timeoutMs: number): Promise<void> {
    return this.ask('shutdown', timeoutMs);
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.signal('SIGKILL');
    await once(this.child, 'exit');
  }

  private async ask<T>(method: string, ...args: unknown[]): Promise<T> {
    const answer = await new Promise<Answer>((resolve) => {
      this.waiting.push(resolve);
      this.child.stdin!.write(`${JSON.stringify({ method, args })}\n`);
    });
    if ('error' in answer) throw new Error(answer.error);
    return answer.value as T;
  }

  private hear(
    said: Answer | { exit: WorkerExit } | { line: string } | { warn: string } | { log: string },
  ): void {
    if ('exit' in said) this.exits.push(said.exit);
    else if ('line' in said) this.lines.push(said.line);
    else if ('warn' in said) this.warned.push(said.warn);
    else if ('value' in said || 'error' in said) this.waiting.shift()!(said);
  }
}

export function workerClass(name: string, nodeTypes: string[] = []): WorkerClass {
  return { name, minWorkers: 0, maxWorkers: 20, nodeTypes };
}

export function wish(name: string, instances: number, retire: string[] = []): PoolWish {
  return { workerClass: workerClass(name), instances, reason: 'a test', retire };
}
