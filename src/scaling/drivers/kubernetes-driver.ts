import { type PoolWish, WorkerDriver, type WorkerInstance } from '../worker-driver.js';
import { allDone } from './all-done.js';
import { DriverTerm } from './driver-term.js';
import { KubernetesApi, type KubernetesApiOptions, type Pod } from './kubernetes-api.js';
import {
  deploymentName,
  exitsBetween,
  hasEnded,
  isTerminating,
  type KnownPod,
  type KnownPods,
  planPods,
  startedAtMs,
} from './kubernetes-plan.js';

export interface KubernetesDriverOptions extends KubernetesApiOptions {
  /** Name of the Deployment of a class; `{class}` stands for the class. */
  deployment: string;
  /** Names of all classes. */
  workerClasses: readonly string[];
  /** How often ends are looked for. Default 5,000. */
  pollMs?: number;
}

const DEFAULT_POLL_MS = 5_000;
/** The lowest that Kubernetes takes. */
const LOWEST_COST = -2_147_483_648;

/** A Deployment, with its pods. */
interface Fleet {
  deployment: string;
  replicas: number;
  pods: Pod[];
}

/**
 * Scales one Deployment for each class; a pod is a worker, and its name the worker's id. Kubernetes starts, restarts
 * and ends pods: a worker that is to end gets its SIGTERM from there, and has `terminationGracePeriodSeconds` of its pod
 * to drain. A smaller number ends pods even if `retire` names nobody.
 */
export class KubernetesDriver extends WorkerDriver {
  private api: KubernetesApi | null = null;
  private term: DriverTerm | null = null;
  /** As of the last look; null = there was none in this term. */
  private known: KnownPods | null = null;

  constructor(private readonly options: KubernetesDriverOptions) {
    super();
  }

  async start(): Promise<void> {
    await this.stop();
    const api = new KubernetesApi(this.options);
    this.api = api;
    this.known = null;
    this.term = new DriverTerm(() => this.lookAtAny(api), this.options.pollMs ?? DEFAULT_POLL_MS);
  }

  async stop(): Promise<void> {
    const { term, api } = this;
    this.term = null;
    this.api = null;
    await term?.end();
    await api?.close();
  }

  async reconcile(wishes: readonly PoolWish[]): Promise<void> {
    const { api, term } = this;
    await term?.run(async () => {
      const { fleets, failure } = await this.look(api!);
      const steps = wishes.map((wish) => async () => {
        const fleet = fleets.get(wish.workerClass.name);
        if (fleet && !term.isOver) await this.bring(api!, fleet, wish);
      });
      await allDone(failure ? [() => Promise.reject(failure), ...steps] : steps);
    });
  }

  async instances(): Promise<WorkerInstance[] | null> {
    const { api, term } = this;
    await term?.run(() => this.lookAtAny(api!));
    if (!term || term.isOver) return null;
    return [...this.known!.values()]
      .filter(({ pod }) => !hasEnded(pod))
      .map(({ pod, workerClass }) => ({
        workerId: pod.metadata.name,
        workerClass,
        retiring: isTerminating(pod),
        startedAtMs: startedAtMs(pod),
      }));
  }

  /** The pods are the cluster's: they outlive the orchestrator. */
  shutdown(): Promise<void> {
    return this.stop();
  }

  private async bring(api: KubernetesApi, fleet: Fleet, wish: PoolWish): Promise<void> {
    const plan = planPods(wish, fleet);
    await allDone(plan.first.map((pod) => () => api.setDeletionCost(pod, LOWEST_COST)));
    if (plan.replicas !== null) await api.setReplicas(fleet.deployment, plan.replicas);
    await allDone(plan.remove.map((pod) => () => api.deletePod(pod)));
  }

  /** A class that cannot be seen does not hide the others: the round says what is wrong, and leaves that class alone. */
  private async lookAtAny(api: KubernetesApi): Promise<void> {
    const { fleets, failure } = await this.look(api);
    if (failure && fleets.size === 0) throw failure;
  }

  /** Sees what there is, and tells of what ended since the last look. A class that cannot be seen is as it was. */
  private async look(api: KubernetesApi): Promise<{ fleets: Map<string, Fleet>; failure: Error | null }> {
    const fleets = new Map<string, Fleet>();
    const failure = await allDone(
      this.options.workerClasses.map((workerClass) => async () => {
        fleets.set(workerClass, await this.fleetOf(api, workerClass));
      }),
    ).then(
      () => null,
      (error: Error) => error,
    );
    this.remember(fleets);
    return { fleets, failure };
  }

  private remember(fleets: ReadonlyMap<string, Fleet>): void {
    const before = this.known ?? new Map<string, KnownPod>();
    const unseen = [...before].filter(([, { workerClass }]) => !fleets.has(workerClass));
    const seen = [...fleets].flatMap(([workerClass, { pods }]) =>
      pods.map((pod) => [pod.metadata.uid, { pod, workerClass }] as const),
    );
    const after = new Map([...unseen, ...seen]);
    const exits = this.known ? exitsBetween(before, after, Date.now()) : [];
    this.known = after;
    exits.forEach((exit) => this.emit('exit', exit));
  }

  private async fleetOf(api: KubernetesApi, workerClass: string): Promise<Fleet> {
    const deployment = deploymentName(this.options.deployment, workerClass);
    const { spec, status } = await api.scaleOf(deployment);
    if (!status?.selector) {
      throw new Error(
        `expected the selector of the pods in the scale of Deployment "${deployment}", got none`,
      );
    }
    // Kubernetes leaves out a number that is 0.
    return { deployment, replicas: spec?.replicas ?? 0, pods: await api.pods(status.selector) };
  }
}
