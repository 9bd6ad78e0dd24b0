import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { attachBroker, startBroker } from '../../scripts/broker.mjs';
import { attachPostgres, startPostgres } from '../../scripts/postgres.mjs';
import { freePort } from '../../scripts/processes.mjs';
import { ApiClient } from './api-client.js';

/**
 * The built product as users run it: separate processes of `dist/`, a vhost of their own on the run's private
 * RabbitMQ node, a database of their own, and nothing but HTTP, AMQP, environment and signals to reach them.
 */

const READY_TIMEOUT_MS = 30_000;
const EXIT_TIMEOUT_MS = 45_000;

export interface SystemOptions {
  /** Default sqlite. */
  store?: 'sqlite' | 'postgres';
  /** Default 1. */
  orchestrators?: number;
  /** Their ids. Default none: start them with `startWorker`. */
  workers?: string[];
  /** For every orchestrator. */
  env?: Record<string, string>;
  /** For every worker. */
  workerEnv?: Record<string, string>;
  /** A broker or database that the test itself may stop, kill and restart. Default: the run's. */
  ownBroker?: boolean | Pick<Parameters<typeof startBroker>[0], 'config' | 'advancedConfig'>;
  ownPostgres?: boolean;
}

export type Broker = Awaited<ReturnType<typeof startBroker>>;
export type Postgres = Awaited<ReturnType<typeof startPostgres>>;

/** One process of ours, with what it said. */
export class Part {
  output = '';
  readonly exited: Promise<number | NodeJS.Signals>;

  constructor(
    readonly name: string,
    readonly child: ChildProcess,
  ) {
    const keep = (chunk: Buffer): void => {
      this.output = (this.output + chunk.toString()).slice(-200_000);
    };
    child.stdout?.on('data', keep);
    child.stderr?.on('data', keep);
    this.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve(signal ?? code ?? 0));
    });
  }

  get isRunning(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** SIGTERM, then waits. @returns exit code, or the signal that ended it */
  async stop(): Promise<number | NodeJS.Signals> {
    if (this.isRunning) {
      this.signal('SIGCONT');
      this.signal('SIGTERM');
      const timer = setTimeout(() => this.signal('SIGKILL'), EXIT_TIMEOUT_MS);
      await this.exited;
      clearTimeout(timer);
    }
    return this.exited;
  }

  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.exited;
  }
}

export class System {
  readonly orchestrators: Part[] = [];
  readonly apis: ApiClient[] = [];
  readonly workers = new Map<string, Part>();

  private constructor(
    readonly amqpUrl: string,
    readonly databaseUrl: string,
    readonly dataDir: string,
    readonly vhost: string,
    readonly broker: Broker,
    readonly postgres: Postgres | null,
    private readonly options: SystemOptions,
    private readonly cleanUp: () => Promise<void>,
  ) {}

  static async start(options: SystemOptions = {}): Promise<System> {
    const name = `t${process.pid}-${Math.random().toString(36).slice(2, 8)}`;
    const dataDir = mkdtempSync(join(tmpdir(), 'flow-test-'));
    const broker = options.ownBroker
      ? await startBroker({
          ...(typeof options.ownBroker === 'object' && options.ownBroker),
          dataDir: join(dataDir, 'broker'),
          log: silent,
        })
      : (attachBroker(environment('TEST_BROKER_STATE')) as Broker);
    const amqpUrl = await broker.createVhost(name);
    const postgres = await providePostgres(options, dataDir);
    const database = name.replaceAll('-', '_');
    const databaseUrl = postgres ? await postgres.createDatabase(database) : '';
    const system = new System(amqpUrl, databaseUrl, dataDir, name, broker, postgres, options, async () => {
      await (options.ownBroker ? broker.stop() : broker.deleteVhost(name));
      await (options.ownPostgres ? postgres?.stop() : postgres?.dropDatabase(database));
      rmSync(dataDir, { recursive: true, force: true });
    });
    try {
      for (let index = 0; index < (options.orchestrators ?? 1); index++) {
        await system.startOrchestrator();
      }
      await Promise.all((options.workers ?? []).map((id) => system.startWorker(id)));
    } catch (error) {
      await system.stop();
      throw error;
    }
    return system;
  }

  /** The first orchestrator's API. */
  get api(): ApiClient {
    return this.apis[0]!;
  }

  /** An orchestrator's API that answers. */
  get liveApi(): ApiClient {
    return this.apis[this.orchestrators.findIndex((part) => part.isRunning)] ?? this.api;
  }

  /** The API of the replica that leads; waits until there is one. */
  async leaderApi(): Promise<ApiClient> {
    return this.apis[await this.leaderIndex()]!;
  }

  /** Which replica leads; waits until one says so. */
  async leaderIndex(): Promise<number> {
    let found = -1;
    await this.until('a replica leads', async () => {
      const answers = await Promise.all(
        this.orchestrators.map((part, index) => (part.isRunning ? this.saysItLeads(index) : false)),
      );
      found = answers.indexOf(true);
      return found >= 0;
    });
    return found;
  }

  private async saysItLeads(index: number): Promise<boolean> {
    const health = await this.apis[index]!.get('/orchestrator/health').catch(() => null);
    return health?.body?.leader?.isLeader === true;
  }

  /** Starts one more orchestrator and waits until it is ready. */
  async startOrchestrator(env: Record<string, string> = {}): Promise<Part> {
    return this.launchOrchestrator(this.orchestrators.length, await freePort(), env);
  }

  /** Starts a replica again that has ended, on the port it had. */
  async restartOrchestrator(index: number, env: Record<string, string> = {}): Promise<Part> {
    return this.launchOrchestrator(index, Number(new URL(this.apis[index]!.baseUrl).port), env);
  }

  /** Starts an orchestrator that is not expected to come up, beside the others. */
  spawnOrchestrator(env: Record<string, string> = {}): Part {
    return this.spawnAt('another-orchestrator', 0, env);
  }

  private spawnAt(name: string, port: number, env: Record<string, string>): Part {
    return this.spawn(name, process.execPath, ['dist/main.js'], {
      PORT: String(port),
      HOST: '127.0.0.1',
      DATABASE_URL: this.databaseUrl,
      WORKER_DRIVER: 'none',
      HEARTBEAT_INTERVAL_MS: '1000',
      ...this.options.env,
      ...env,
    });
  }

  private async launchOrchestrator(index: number, port: number, env: Record<string, string>): Promise<Part> {
    const part = this.spawnAt(`orchestrator-${index + 1}`, port, env);
    const api = new ApiClient(`http://127.0.0.1:${port}`);
    this.orchestrators[index] = part;
    this.apis[index] = api;
    await this.until(
      `${part.name} is ready`,
      async () => (await api.get('/health/ready')).status === 200,
      part,
    );
    return part;
  }

  /** Starts a worker and waits until the first orchestrator may give it work. */
  async startWorker(id: string, env: Record<string, string> = {}): Promise<Part> {
    const part = this.launchWorker(id, env);
    await this.untilAssignable(id, part);
    return part;
  }

  /** Starts a worker and waits for nothing. */
  launchWorker(id: string, env: Record<string, string> = {}): Part {
    return this.launchProcess(id, process.execPath, ['dist/worker.main.js', '--id', id], env);
  }

  /** Starts any program as a worker. */
  launchProcess(id: string, command: string, args: string[], env: Record<string, string> = {}): Part {
    const part = this.spawn(id, command, args, {
      HEARTBEAT_INTERVAL_MS: '1000',
      ...this.options.workerEnv,
      ...env,
    });
    this.workers.set(id, part);
    return part;
  }

  async untilAssignable(id: string, part?: Part): Promise<void> {
    await this.until(
      `worker ${id} takes tasks`,
      async () => (await this.api.get(`/orchestrator/workers/${id}`)).body?.assignable === true,
      part,
    );
  }

  /** Polls until it is so; on failure says what the processes said last. */
  async until(
    what: string,
    isSo: () => Promise<boolean>,
    part?: Part,
    timeoutMs = READY_TIMEOUT_MS,
  ): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      if (await isSo().catch(() => false)) {
        return;
      }
      if (part && !part.isRunning) {
        throw new Error(`expected that ${what}, but ${part.name} ended:\n${lastLines(part.output)}`);
      }
      if (Date.now() > deadline) {
        throw new Error(`expected that ${what} within ${timeoutMs} ms\n${this.logs()}`);
      }
      await new Promise((next) => setTimeout(next, 25));
    }
  }

  logs(): string {
    return [...this.orchestrators, ...this.workers.values()]
      .map((part) => `--- ${part.name}\n${lastLines(part.output)}`)
      .join('\n');
  }

  /** Stops everything it started and removes what it made. */
  async stop(): Promise<void> {
    await Promise.all([...this.workers.values()].map((part) => part.stop()));
    await Promise.all(this.orchestrators.map((part) => part.stop()));
    this.launchedWorkers().forEach(({ pid }) => endQuietly(pid));
    await this.cleanUp();
  }

  /** Workers that an orchestrator launched (`WORKER_DRIVER=process`) and that have not ended, by what it keeps of them. */
  launchedWorkers(): { workerId: string; workerClass: string; pid: number; retiring: boolean }[] {
    const folder = join(this.dataDir, 'workers');
    return filesIn(folder)
      .filter((name) => name.endsWith('.json'))
      .map((name) => ({
        workerId: name.slice(0, -5),
        ...JSON.parse(readFileSync(join(folder, name), 'utf8')),
      }))
      .filter(({ pid }) => isAlive(pid));
  }

  private spawn(name: string, command: string, args: string[], env: Record<string, string>): Part {
    const child = spawn(command, args, {
      cwd: process.cwd(),
      env: {
        PATH: process.env.PATH,
        HOME: process.env.HOME,
        LANG: process.env.LANG,
        AMQP_URL: this.amqpUrl,
        DATA_DIR: this.dataDir,
        LOG_FORMAT: 'json',
        ...env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return new Part(name, child);
  }
}

const silent = (): void => undefined;

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

function endQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}

async function providePostgres(options: SystemOptions, dataDir: string): Promise<Postgres | null> {
  if (options.store !== 'postgres') {
    return null;
  }
  return options.ownPostgres
    ? startPostgres({ dataDir: join(dataDir, 'postgres'), log: silent })
    : (attachPostgres(environment('TEST_POSTGRES_STATE')) as Postgres);
}

function environment(name: string): string {
  const value = process.env[name];
  if (!value) {
    throw new Error(`expected ${name} in the environment: run the tests with npm test`);
  }
  return value;
}

function lastLines(output: string, count = 25): string {
  return output.split('\n').slice(-count).join('\n');
}
