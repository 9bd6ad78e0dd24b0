import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Provider } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { TerminusModule } from '@nestjs/terminus';
import { Test } from '@nestjs/testing';
import { OrchestratorConfigService } from '../../../../src/config/orchestrator-config.service.js';
import { workerClassesOf } from '../../../../src/config/worker-class.js';
import { MessagingService } from '../../../../src/messaging/messaging.service.js';
import { API_CONTROLLERS, API_PROVIDERS } from '../../../../src/orchestrator/api/api.providers.js';
import { configureHttp, createHttpAdapter, HTTP_OPTIONS } from '../../../../src/orchestrator/api/http.js';
import { Completions } from '../../../../src/orchestrator/completions.js';
import { Intake } from '../../../../src/orchestrator/intake.js';
import { Leadership } from '../../../../src/orchestrator/leadership.js';
import { Stager } from '../../../../src/orchestrator/stager.js';
import { type QueueHealth, QueueManagementService } from '../../../../src/queue/queue-management.service.js';
import { ScalingOverview } from '../../../../src/scaling/scaling-overview.js';
import { ScalingService } from '../../../../src/scaling/scaling.service.js';
import {
  type Acceptance,
  ExecutionStore,
  type NewExecution,
  type TaskRef,
} from '../../../../src/store/execution-store.js';
import { sqliteStore } from '../../../../src/store/kysely-execution-store.js';
import { WorkerManagementService } from '../../../../src/worker/worker-management.service.js';
import type { WorkerView } from '../../../../src/worker/worker-view.js';

/** The values that the API looks at. */
export const CONFIG = {
  bodyLimitBytes: 64 * 1024,
  batchBodyLimitBytes: 512 * 1024,
  batchLimitItems: 10,
  flowMaxNodes: 20,
  flowMaxConnections: 40,
  flowMaxDepth: 3,
  executionTimeoutMs: 10_000,
  executionTimeoutMaxMs: 60_000,
  retryMaxAttempts: 3,
  unknownNodeTypes: 'wait' as 'wait' | 'reject',
  waitLimitMs: 5_000,
  rescueAfterMs: 5_000,
  workerDrainDeadlineMs: 30_000,
  workerDriver: 'none',
  workerClasses: [] as string[],
  minWorkers: 1,
  maxWorkers: 20,
  databaseUrl: '',
  docsEnabled: true,
  metricsEnabled: true,
  instanceId: 'test-1',
  apiKeys: [] as string[],
  jwtSecret: '',
  jwtJwksUrl: '',
  jwtIssuer: '',
  jwtAudience: '',
};

/** The pool, the broker and the leader as a test wants them. */
export class Surroundings {
  refusal: { reason: string; retryAfterS: number } | null = null;
  classState: 'free' | 'full' | 'none' = 'free';
  knownNodeTypes = new Set(['delay']);
  /** What waits for a slot before it is on record. */
  waitingKinds: { requiredTypes: string; count: number }[] = [];
  workers: WorkerView[] = [WORKER];
  stats = { total: 1, available: 1, busy: 0, averageLoad: 0 };
  queueHealth: () => Promise<QueueHealth[]> = () =>
    Promise.resolve([
      { name: 'flow.ready.high', depth: 0, inHand: 0, consumers: 1, priority: 'high', watermark: 'normal' },
      { name: 'flow.dlq', depth: 0, inHand: 0, consumers: 1, watermark: 'normal' },
    ]);
  broker = { isUp: true, blockedReason: null as string | null, lastError: null as string | null };
  leader: string | null = 'test-1';
  republish: () => Promise<'routed' | 'unroutable'> = () => Promise.resolve('routed');
  readonly told: object[] = [];
  /** What telling a worker ends with instead. */
  untold: Error | null = null;
  kicks = 0;
  /** Rounds that were asked for. */
  wakes = 0;
  /** What the leader knows of each class; null on another replica. */
  scaling: ReturnType<ScalingService['statusOf']> = null;
}

export const WORKER: WorkerView = {
  workerId: 'worker-1',
  hostname: 'host-1',
  incarnation: 'a1',
  lifecycle: 'ready',
  status: 'healthy',
  capacity: { maxConcurrentFlows: 2, maxConcurrentNodes: 4, memoryLimitMB: 512, cpuLimitCores: 1 },
  supportedNodeTypes: ['delay'],
  weight: 1,
  currentLoad: { activeFlows: 0, activeNodes: 0, memoryUsagePercent: 1, cpuUsagePercent: 1, queuedTasks: 0 },
  performance: {
    currentLoad: 0,
    tasksCompleted: 0,
    tasksInProgress: 0,
    averageExecutionTimeMs: 0,
    errorRate: 0,
  },
  heldExecutionIds: [],
  registeredAt: '2026-11-21T09:00:00.000Z',
  lastHeartbeatAt: null,
  assignable: true,
};

export interface ApiApp {
  url: string;
  store: ExecutionStore;
  surroundings: Surroundings;
  app: NestFastifyApplication;
  close: () => Promise<void>;
}

/** The API over real HTTP and a real SQLite store; the core around it is played by `Surroundings`. */
export async function startApi(overrides: Partial<typeof CONFIG> = {}): Promise<ApiApp> {
  const folder = await mkdtemp(join(tmpdir(), 'flow-api-'));
  const store = sqliteStore(join(folder, 'test.db'));
  await store.open();
  const surroundings = new Surroundings();
  const config = { ...CONFIG, ...overrides };
  const module = await Test.createTestingModule({
    imports: [TerminusModule.forRoot({ logger: false })],
    controllers: API_CONTROLLERS,
    providers: [
      ...API_PROVIDERS,
      Completions,
      ScalingOverview,
      { provide: OrchestratorConfigService, useValue: config },
      { provide: ExecutionStore, useValue: store },
      ...core(config, store, surroundings),
    ],
  }).compile();
  const app = module.createNestApplication<NestFastifyApplication>(createHttpAdapter(config), {
    ...HTTP_OPTIONS,
    logger: false,
  });
  configureHttp(app, config);
  await app.listen(0, '127.0.0.1');
  const close = async (): Promise<void> => {
    await app.close();
    await store.close();
    await rm(folder, { recursive: true });
  };
  return { url: await app.getUrl(), store, surroundings, app, close };
}

function core(config: typeof CONFIG, store: ExecutionStore, around: Surroundings): Provider[] {
  const submitOne = async (execution: NewExecution): Promise<Acceptance> => {
    const [acceptance] = await store.accept([execution]);
    if (acceptance!.kind === 'created' && execution.delayMs === 0) {
      await store.markQueued([{ executionId: execution.executionId, attempt: 1 }]);
    }
    return acceptance!;
  };
  const submit = async (executions: readonly NewExecution[]): Promise<(Acceptance | Error)[]> => {
    const answers: (Acceptance | Error)[] = [];
    for (const execution of executions) {
      answers.push(await submitOne(execution).catch((error: Error) => error));
    }
    return answers;
  };
  const workers = {
    list: () => around.workers,
    find: (id: string) => around.workers.find(({ workerId }) => workerId === id) ?? null,
    stats: () => around.stats,
    classState: () => around.classState,
    knownNodeTypes: () => around.knownNodeTypes,
    pool: { all: () => [] },
    drain: (id: string, deadlineMs: number) => {
      around.told.push({ drain: id, deadlineMs });
      return Promise.resolve(around.workers.some(({ workerId }) => workerId === id));
    },
    cancelOnWorker: (workerId: string, cancel: object) => {
      around.told.push({ workerId, ...cancel });
      return around.untold ? Promise.reject(around.untold) : Promise.resolve();
    },
  };
  const scaling = {
    classes: workerClassesOf(config),
    problem: null,
    statusOf: () => around.scaling,
    wake: () => around.wakes++,
    on: () => undefined,
  };
  const queues = {
    isDeclared: true,
    queueHealth: () => around.queueHealth(),
    republish: () => around.republish(),
  };
  return [
    {
      provide: Intake,
      useValue: { submit, refusal: () => around.refusal, waitingKinds: () => around.waitingKinds },
    },
    { provide: WorkerManagementService, useValue: workers },
    { provide: QueueManagementService, useValue: queues },
    { provide: MessagingService, useValue: around.broker },
    { provide: ScalingService, useValue: scaling },
    { provide: Stager, useValue: { kick: () => around.kicks++ } },
    {
      provide: Leadership,
      useValue: { status: () => ({ isLeader: around.leader === 'test-1', leader: around.leader, epoch: 1 }) },
    },
  ];
}

/** Takes a queued execution through a worker to its end. */
export async function runTo(
  store: ExecutionStore,
  executionId: string,
  state: 'running' | 'completed' | 'failed' | 'dead',
): Promise<void> {
  const { epoch } = await store.acquireLease('test-1', 60_000);
  const task: TaskRef & { workerId: string } = {
    executionId,
    attempt: (await store.get(executionId))!.attempt,
    workerId: 'worker-1',
  };
  await store.assign(epoch, [task]);
  await store.markRunning([task]);
  if (state === 'running') {
    return;
  }
  const error = state === 'completed' ? null : { code: 'node_failed', message: 'no', retryable: false };
  const result = state === 'completed' ? '{"second":{"ms":50}}' : null;
  await store.finish([{ ...task, state, result, error, timeline: [], durationMs: 7 }]);
}
