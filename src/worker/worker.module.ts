import { Module } from '@nestjs/common';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import { QueueModule } from '../queue/queue.module.js';
import { FleetTransport } from './fleet.transport.js';
import { LeastBusy } from './selection/least-busy.js';
import { RoundRobin } from './selection/round-robin.js';
import type { Strategy } from './selection/selection.js';
import { Weighted } from './selection/weighted.js';
import { WorkerController } from './worker.controller.js';
import { WorkerManagementService } from './worker-management.service.js';
import { WorkerPool } from './worker-pool.js';

const STRATEGIES: Record<OrchestratorConfigService['loadBalancingStrategy'], () => Strategy> = {
  least_busy: () => new LeastBusy(Math.random),
  round_robin: () => new RoundRobin(),
  weighted: () => new Weighted(),
};

@Module({
  imports: [QueueModule],
  controllers: [WorkerController],
  providers: [
    {
      provide: WorkerPool,
      inject: [OrchestratorConfigService],
      useFactory: (config: OrchestratorConfigService) =>
        new WorkerPool({
          strategy: STRATEGIES[config.loadBalancingStrategy](),
          loadLimitPercent: config.workerLoadLimitPercent,
          now: () => performance.now(),
        }),
    },
    WorkerManagementService,
    FleetTransport,
  ],
  exports: [WorkerManagementService, FleetTransport],
})
export class WorkerModule {}
