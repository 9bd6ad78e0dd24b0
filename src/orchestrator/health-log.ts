import { Injectable, Logger, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { SchedulerRegistry } from '@nestjs/schedule';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import { HealthService } from './api/health.service.js';

const HEALTH_INTERVAL = 'health';

/** Looks at the health each `HEALTH_CHECK_INTERVAL_MS` and writes a line when it has changed, for whoever reads the log only. */
@Injectable()
export class HealthLog implements OnApplicationBootstrap, OnApplicationShutdown {
  private readonly logger = new Logger('Health');
  private last = '';

  constructor(
    private readonly config: OrchestratorConfigService,
    private readonly health: HealthService,
    private readonly scheduler: SchedulerRegistry,
  ) {}

  onApplicationBootstrap(): void {
    const interval = setInterval(() => void this.look(), this.config.healthCheckIntervalMs);
    this.scheduler.addInterval(HEALTH_INTERVAL, interval);
  }

  onApplicationShutdown(): void {
    // The scheduler forgets all of its intervals as the process stops, and complains of what it has forgotten.
    if (this.scheduler.doesExist('interval', HEALTH_INTERVAL)) {
      this.scheduler.deleteInterval(HEALTH_INTERVAL);
    }
  }

  private async look(): Promise<void> {
    try {
      const { status, reasons } = await this.health.health();
      const line = reasons.length === 0 ? status : `${status}: ${reasons.join('; ')}`;
      if (line !== this.last) {
        this.last = line;
        this.logger[status === 'healthy' ? 'log' : 'warn'](line);
      }
    } catch (error) {
      this.logger.warn(`the health could not be assessed: ${(error as Error).message}`);
    }
  }
}
