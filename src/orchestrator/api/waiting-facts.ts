import { Injectable } from '@nestjs/common';
import { OrchestratorConfigService } from '../../config/orchestrator-config.service.js';
import { MessagingService } from '../../messaging/messaging.service.js';
import { ScalingOverview } from '../../scaling/scaling-overview.js';
import { type ExecutionRecord, ExecutionStore } from '../../store/execution-store.js';
import { isTerminal, WAITING_STATES } from '../../store/transitions.js';
import { WorkerManagementService } from '../../worker/worker-management.service.js';
import { Leadership } from '../leadership.js';
import { waitingReason, type WaitingReason } from '../waiting-reason.js';
import { brokerState } from './broker-state.js';

/** Counting further would cost more than it tells. */
const AHEAD_LIMIT = 10_000;

/** Gathers what stands in an execution's way at this moment. */
@Injectable()
export class WaitingFactsReader {
  constructor(
    private readonly config: OrchestratorConfigService,
    private readonly store: ExecutionStore,
    private readonly messaging: MessagingService,
    private readonly workers: WorkerManagementService,
    private readonly leadership: Leadership,
    private readonly scaling: ScalingOverview,
  ) {}

  /** Null for an execution that runs or has ended. */
  async reasonFor(record: ExecutionRecord): Promise<WaitingReason | null> {
    if (isTerminal(record.state)) {
      return null;
    }
    const inLine = (WAITING_STATES as readonly string[]).includes(record.state);
    const pool = this.workers.classState(record.requiredTypes);
    return waitingReason(record, {
      now: Date.now(),
      broker: brokerState(this.messaging),
      leader: this.leadership.status().leader,
      pool,
      growth: this.scaling.growthFor(record.requiredTypes, pool),
      knownNodeTypes: this.workers.knownNodeTypes(),
      ahead: inLine ? await this.store.countAhead(record.executionId, AHEAD_LIMIT) : 0,
      aheadLimit: AHEAD_LIMIT,
      rescueAfterMs: this.config.rescueAfterMs,
    });
  }
}
