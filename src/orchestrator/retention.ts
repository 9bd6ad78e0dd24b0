import { Injectable, Logger } from '@nestjs/common';
import { SchedulerRegistry } from '@nestjs/schedule';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import { ExecutionStore } from '../store/execution-store.js';

const PRUNE_INTERVAL = 'retention';

/** Deletes executions that ended longer ago than `RETENTION_MS`, a batch at a time, so that no write is held up for long. */
@Injectable()
export class Retention {
  private readonly logger = new Logger(Retention.name);
  private pruning: Promise<void> | null = null;

  constructor(
    private readonly config: OrchestratorConfigService,
    private readonly store: ExecutionStore,
    private readonly scheduler: SchedulerRegistry,
  ) {}

  start(): void {
    const interval = setInterval(() => {
      this.pruning ??= this.prune()
        .catch((error: Error) => this.logger.warn(`old executions could not be deleted: ${error.message}`))
        .finally(() => {
          this.pruning = null;
        });
    }, this.config.retentionIntervalMs);
    this.scheduler.addInterval(PRUNE_INTERVAL, interval);
  }

  async stop(): Promise<void> {
    if (this.scheduler.doesExist('interval', PRUNE_INTERVAL)) {
      this.scheduler.deleteInterval(PRUNE_INTERVAL);
    }
    await this.pruning;
  }

  private async prune(): Promise<void> {
    const { retentionMs, retentionBatch } = this.config;
    let total = 0;
    for (;;) {
      const pruned = await this.store.prune(retentionMs, retentionBatch);
      total += pruned;
      if (pruned < retentionBatch) {
        break;
      }
    }
    if (total > 0) {
      this.logger.log(`deleted ${total} executions and dead messages older than ${retentionMs} ms`);
    }
  }
}
