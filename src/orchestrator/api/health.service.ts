import { Injectable } from '@nestjs/common';
import { OrchestratorConfigService } from '../../config/orchestrator-config.service.js';
import { MessagingService } from '../../messaging/messaging.service.js';
import { QueueManagementService } from '../../queue/queue-management.service.js';
import { ScalingOverview } from '../../scaling/scaling-overview.js';
import { ExecutionStore } from '../../store/execution-store.js';
import { WorkerManagementService } from '../../worker/worker-management.service.js';
import { Leadership } from '../leadership.js';
import { brokerState, type BrokerState } from './broker-state.js';
import { healthStatus } from './health-status.js';
import type { HealthView, QueueHealthView, ScalingHealthView } from './health.dto.js';
import { VERSION } from './version.js';
import { within } from './within.js';

/** Below the two seconds in which an answer is promised. */
const PROBE_LIMIT_MS = 1_500;

export interface StoreState {
  state: 'up' | 'away';
  reason?: string;
}

/** Looks at everything the service stands on, in bounded time whatever hangs. */
@Injectable()
export class HealthService {
  constructor(
    private readonly config: OrchestratorConfigService,
    private readonly store: ExecutionStore,
    private readonly messaging: MessagingService,
    private readonly queues: QueueManagementService,
    private readonly workers: WorkerManagementService,
    private readonly leadership: Leadership,
    private readonly scaling: ScalingOverview,
  ) {}

  async health(): Promise<HealthView> {
    const [store, { broker, queues }, waiting, scaling] = await Promise.all([
      this.storeState(),
      this.probeBroker(),
      this.waiting(),
      this.scalingState(),
    ]);
    const workers = this.workers.stats();
    const { status, reasons } = healthStatus({
      broker: broker.state,
      store: store.state,
      watermarkHigh: queues.some(({ watermark }) => watermark === 'high'),
      workers,
      minWorkers: scaling.classes.reduce((sum, { minWorkers }) => sum + minWorkers, 0),
      scaling: {
        isAtZero: scaling.classes.every(({ desired }) => desired === 0),
        problems: scaling.problems,
      },
      waiting: Math.max(waiting, waitingIn(queues)),
    });
    return {
      status,
      reasons,
      timestamp: new Date().toISOString(),
      queues,
      workers,
      scaling,
      leader: this.leadership.status(),
      broker,
      store: { ...store, dialect: this.config.databaseUrl === '' ? 'sqlite' : 'postgresql' },
      version: VERSION,
      instance: this.config.instanceId,
    };
  }

  /** One round trip to the database. */
  async storeState(): Promise<StoreState> {
    try {
      await within(PROBE_LIMIT_MS, this.store.ping());
      return { state: 'up' };
    } catch (error) {
      return { state: 'away', reason: (error as Error).message };
    }
  }

  /** By what the connections say of themselves, without a round trip. Without our queues there is nothing to use it for. */
  brokerState(): BrokerState {
    const state = brokerState(this.messaging);
    return state.state === 'up' && !this.queues.isDeclared
      ? { state: 'away', reason: 'the queues are not declared yet' }
      : state;
  }

  private async probeBroker(): Promise<{ broker: BrokerState; queues: QueueHealthView[] }> {
    const broker = this.brokerState();
    if (broker.state === 'away') {
      return { broker, queues: [] };
    }
    try {
      const queues = await within(PROBE_LIMIT_MS, this.queues.queueHealth());
      return {
        broker,
        queues: queues.map(({ inHand, ...queue }) => ({ ...queue, depth: queue.depth + inHand })),
      };
    } catch (error) {
      return { broker: { state: 'away', reason: (error as Error).message }, queues: [] };
    }
  }

  private async scalingState(): Promise<ScalingHealthView> {
    const heads = this.scaling.heads();
    const settings = await within(PROBE_LIMIT_MS, this.scaling.settings()).catch(() => null);
    return {
      driver: this.scaling.driver.name,
      problems: this.scaling.problems,
      classes: this.scaling.classes.map(({ name, ...configured }) => {
        const { minWorkers, maxWorkers, paused } = settings?.get(name) ?? { ...configured, paused: false };
        const desired = settings?.get(name)?.desired ?? null;
        return { workerClass: name, desired, live: heads.get(name)!.live, minWorkers, maxWorkers, paused };
      }),
    };
  }

  /** Parked executions are in no queue, so the record is asked as well; unknown counts as none. */
  private async waiting(): Promise<number> {
    try {
      return (await within(PROBE_LIMIT_MS, this.store.countOpen())).queued;
    } catch {
      return 0;
    }
  }
}

function waitingIn(queues: QueueHealthView[]): number {
  return queues.filter(({ priority }) => priority !== undefined).reduce((sum, { depth }) => sum + depth, 0);
}
