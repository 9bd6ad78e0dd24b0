import { Controller, Get, Header, Logger } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { OrchestratorConfigService } from '../../config/orchestrator-config.service.js';
import { QueueManagementService } from '../../queue/queue-management.service.js';
import { ScalingOverview } from '../../scaling/scaling-overview.js';
import { ExecutionStore } from '../../store/execution-store.js';
import { isTerminal } from '../../store/transitions.js';
import { WorkerManagementService } from '../../worker/worker-management.service.js';
import { Intake } from '../intake.js';
import { Leadership } from '../leadership.js';
import { Needs } from './access.js';
import { Metrics } from './metrics.js';
import { ApiProblems, OPERATIONS_TAG } from './api-docs.js';
import { ProblemException } from './problem.js';
import { within } from './within.js';

/** However often Prometheus asks, and however many ask, the database is asked no more often than this. */
const COUNT_AGE_MS = 1_000;
/** A scrape must not hang on a database or broker that is away: it answers with what it has. */
const READ_LIMIT_MS = 1_000;

@ApiTags(OPERATIONS_TAG)
@Controller()
export class MetricsController {
  private readonly logger = new Logger(MetricsController.name);
  private countedAtMs = -Infinity;

  constructor(
    private readonly config: OrchestratorConfigService,
    private readonly metrics: Metrics,
    private readonly store: ExecutionStore,
    private readonly queues: QueueManagementService,
    private readonly workers: WorkerManagementService,
    private readonly leadership: Leadership,
    private readonly scaling: ScalingOverview,
    private readonly intake: Intake,
  ) {
    scaling.onScaled(({ workerClass, direction }) => metrics.scaled(workerClass, direction));
  }

  @Get('metrics')
  @Needs('read')
  @Header('Content-Type', 'text/plain; version=0.0.4; charset=utf-8')
  @ApiOperation({ summary: 'Metrics in the Prometheus text format', operationId: 'metrics' })
  @ApiOkResponse({ description: 'The metrics', content: { 'text/plain': { schema: { type: 'string' } } } })
  @ApiProblems(switchedOff())
  async read(): Promise<string> {
    if (!this.config.metricsEnabled) {
      throw switchedOff();
    }
    await Promise.all([
      this.countOpen().catch((error: Error) => this.note('executions', error)),
      this.measureQueues().catch((error: Error) => this.note('queues', error)),
    ]);
    this.readPool();
    return this.metrics.registry.metrics();
  }

  private async countOpen(): Promise<void> {
    if (performance.now() - this.countedAtMs < COUNT_AGE_MS) {
      return;
    }
    this.countedAtMs = performance.now();
    const counts = await within(READ_LIMIT_MS, this.store.countOpen());
    for (const [state, count] of Object.entries(counts) as [keyof typeof counts, number][]) {
      if (!isTerminal(state) || state === 'dead') {
        this.metrics.open.set({ state }, count);
      }
    }
  }

  private async measureQueues(): Promise<void> {
    for (const { name, depth, inHand, consumers } of await within(READ_LIMIT_MS, this.queues.queueHealth())) {
      this.metrics.queueDepth.set({ queue: name }, depth + inHand);
      this.metrics.queueConsumers.set({ queue: name }, consumers);
    }
  }

  private readPool(): void {
    const { averageLoad, ...counts } = this.workers.stats();
    for (const [kind, count] of Object.entries(counts)) {
      this.metrics.workers.set({ kind }, count);
    }
    this.metrics.workersLoad.set(averageLoad);
    this.metrics.desiredWorkers.reset();
    for (const [name, { live }] of this.scaling.heads()) {
      this.metrics.liveWorkers.set({ class: name }, live);
      const desired = this.scaling.decidedSize(name);
      if (desired !== null) {
        this.metrics.desiredWorkers.set({ class: name }, desired);
      }
    }
    this.metrics.admissionWaiting.set(this.intake.waitingKinds().reduce((sum, { count }) => sum + count, 0));
    this.metrics.leader.set(this.leadership.status().isLeader ? 1 : 0);
  }

  private note(what: string, error: Error): void {
    this.logger.warn(`/metrics has no fresh figures about ${what}: ${error.message}`);
  }
}

function switchedOff(): ProblemException {
  return new ProblemException('not-found', 'metrics are switched off: set METRICS_ENABLED=true');
}
