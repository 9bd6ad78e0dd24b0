import { randomBytes } from 'node:crypto';
import { type PoolWish, WorkerDriver, type WorkerInstance } from '../worker-driver.js';
import { allDone } from './all-done.js';
import { type ContainerSpec, DockerEngine } from './docker-engine.js';
import {
  exitOf,
  LABELS,
  planOf,
  retiringName,
  type WorkerContainer,
  workerContainers,
} from './docker-plan.js';
import { DriverTerm } from './driver-term.js';
import { workerVariables } from './worker-environment.js';

export interface DockerDriverOptions {
  /** `unix:///path`, `tcp://host:port` or `http://host:port`. */
  host: string;
  /** What sets this installation apart on the engine, say `AMQP_PREFIX`; empty is a name too. */
  installation: string;
  /** Has to be on the engine: nothing is pulled. */
  image: string;
  /** Network that the workers join; empty = the engine's default one. */
  network: string;
  /** Default `node dist/worker.main.js`. */
  command?: readonly string[];
  /** The orchestrator's own. Workers get what is theirs of it: see `workerVariables`. */
  environment: Readonly<Record<string, string | undefined>>;
  /** Time a worker that was asked to end has for what it runs (`WORKER_DRAIN_DEADLINE_MS`). */
  drainDeadlineMs: number;
  /** Longer than that, until one that was asked to end is killed. Default 10,000. */
  graceMs?: number;
  /** How often ends are looked for. Default 1,000. */
  pollMs?: number;
}

const DEFAULT_COMMAND = ['node', 'dist/worker.main.js'];
const DEFAULT_GRACE_MS = 10_000;
const DEFAULT_POLL_MS = 1_000;

/**
 * A container for each worker, on one Docker Engine. Everything it has to know from one term to the next is on the
 * engine: labels say whose a container is, its name whether it was asked to end. So containers outlive orchestrators,
 * and whoever leads next finds them. Only workers named in `retire` are ever ended: SIGTERM, and SIGKILL when the drain
 * deadline and a grace time are over. Ended containers are told of, then removed.
 *
 * Not `POST /containers/{id}/stop?t=…`: its answer comes with the end of the container, and some engines of
 * the series 23 and 24 killed the container when that connection broke (moby/moby#45731), as it does when an
 * orchestrator ends.
 */
export class DockerDriver extends WorkerDriver {
  private readonly spec: Omit<ContainerSpec, 'Env' | 'Labels'>;
  private readonly endAfterMs: number;
  private engine: DockerEngine | null = null;
  private term: DriverTerm | null = null;

  constructor(private readonly options: DockerDriverOptions) {
    super();
    this.endAfterMs = options.drainDeadlineMs + (options.graceMs ?? DEFAULT_GRACE_MS);
    this.spec = {
      Image: options.image,
      Cmd: options.command ?? DEFAULT_COMMAND,
      // For those who stop a worker by hand.
      StopSignal: 'SIGTERM',
      StopTimeout: Math.ceil(this.endAfterMs / 1000),
      // The check of the image asks the HTTP API, which a worker does not have.
      Healthcheck: { Test: ['NONE'] },
      HostConfig: {
        // A worker that ended is replaced under a new name, and only while it is wished for.
        RestartPolicy: { Name: 'no' },
        SecurityOpt: ['no-new-privileges'],
        ...(options.network !== '' && { NetworkMode: options.network }),
      },
    };
  }

  async start(): Promise<void> {
    await this.stop();
    const engine = new DockerEngine(this.options.host);
    this.engine = engine;
    this.term = new DriverTerm(async () => {
      await allDone(this.burials(engine, await this.look(engine)));
    }, this.options.pollMs ?? DEFAULT_POLL_MS);
  }

  async stop(): Promise<void> {
    const { term, engine } = this;
    this.term = null;
    this.engine = null;
    await term?.end();
    await engine?.close();
  }

  async reconcile(wishes: readonly PoolWish[]): Promise<void> {
    const { term, engine } = this;
    if (!term || !engine) return;
    await term.run(() => this.round(engine, term, wishes));
  }

  async instances(): Promise<WorkerInstance[] | null> {
    const { engine } = this;
    if (!engine) return null;
    const containers = await this.look(engine);
    return containers
      .filter(({ state }) => state === 'running')
      .map(({ workerId, workerClass, retiringSinceMs, startedAtMs }) => ({
        workerId,
        workerClass,
        retiring: retiringSinceMs !== null,
        startedAtMs,
      }));
  }

  /** The containers are the engine's: they outlive the orchestrator. */
  shutdown(): Promise<void> {
    return this.stop();
  }

  private async round(engine: DockerEngine, term: DriverTerm, wishes: readonly PoolWish[]): Promise<void> {
    const containers = await this.look(engine);
    const plan = planOf(containers, wishes, Date.now(), this.endAfterMs);
    const inTerm = (task: () => Promise<void>) => async () => (term.isOver ? undefined : task());
    await allDone([
      ...this.burials(engine, containers),
      ...plan.kill.map(({ id }) => inTerm(() => engine.kill(id, 'SIGKILL'))),
      ...plan.retire.map((container) => inTerm(() => this.retire(engine, container))),
      ...plan.start.map((wish) => inTerm(() => this.launch(engine, wish))),
    ]);
  }

  private async look(engine: DockerEngine): Promise<WorkerContainer[]> {
    const { installation } = this.options;
    return workerContainers(await engine.list([`${LABELS.installation}=${installation}`]), installation);
  }

  private burials(engine: DockerEngine, containers: readonly WorkerContainer[]): (() => Promise<void>)[] {
    return containers.flatMap((container) => {
      if (container.state === 'ended') return () => this.bury(engine, container);
      // Left by an orchestrator that ended between the two calls of a start.
      return container.state === 'unstarted' ? () => engine.remove(container.id) : [];
    });
  }

  /** Told of when it is gone, so that nobody tells of it twice. */
  private async bury(engine: DockerEngine, container: WorkerContainer): Promise<void> {
    const end = await engine.endOf(container.id);
    if (end === null) return;
    await engine.remove(container.id);
    this.emit('exit', exitOf(container, end));
  }

  /** The signal first: a name that says more than happened would leave the worker waiting for it until it is killed. */
  private async retire(engine: DockerEngine, { id, workerId }: WorkerContainer): Promise<void> {
    await engine.kill(id, 'SIGTERM');
    await engine.rename(id, retiringName(workerId, Date.now()));
  }

  private async launch(engine: DockerEngine, { workerClass }: PoolWish): Promise<void> {
    const workerId = `${workerClass.name}-${randomBytes(4).toString('hex')}`;
    const variables = {
      ...workerVariables(this.options.environment),
      ...(workerClass.nodeTypes.length > 0 && { WORKER_NODE_TYPES: workerClass.nodeTypes.join(',') }),
      WORKER_ID: workerId,
      WORKER_CLASS: workerClass.name,
      // The kill counts from the same deadline.
      WORKER_DRAIN_DEADLINE_MS: String(this.options.drainDeadlineMs),
    };
    const id = await engine.create(workerId, {
      ...this.spec,
      Env: Object.entries(variables).map(([name, value]) => `${name}=${value}`),
      Labels: {
        [LABELS.installation]: this.options.installation,
        [LABELS.workerClass]: workerClass.name,
        [LABELS.workerId]: workerId,
      },
    });
    await engine.start(id).catch(async (error: Error) => {
      await engine.remove(id).catch(() => undefined);
      throw error;
    });
  }
}
