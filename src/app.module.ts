import { Module } from '@nestjs/common';
import { ScheduleModule } from '@nestjs/schedule';
import { OrchestratorConfigService } from './config/orchestrator-config.service.js';
import { MessagingModule } from './messaging/messaging.module.js';
import { OrchestratorModule } from './orchestrator/orchestrator.module.js';
import { QueueModule } from './queue/queue.module.js';
import { StoreModule } from './store/store.module.js';
import { WorkerModule } from './worker/worker.module.js';

/** The orchestrator, room by room; the configuration is imported beside it in `main.ts`. */
@Module({
  imports: [
    ScheduleModule.forRoot(),
    MessagingModule.registerAsync({
      inject: [OrchestratorConfigService],
      useFactory: (config: OrchestratorConfigService) => ({
        instance: `orchestrator ${config.instanceId}`,
        urls: config.amqpUrls,
        tls: {
          caFile: config.amqpCaFile,
          certFile: config.amqpCertFile,
          keyFile: config.amqpKeyFile,
        },
        heartbeatS: config.amqpHeartbeatS,
        publishWindow: config.publishWindow,
        publishTimeoutMs: config.publishTimeoutMs,
      }),
    }),
    QueueModule,
    StoreModule,
    WorkerModule,
    OrchestratorModule,
  ],
})
export class AppModule {}
