import { Module } from '@nestjs/common';
import { WorkerConfigService } from '../config/worker-config.service.js';
import { MessagingModule } from '../messaging/messaging.module.js';
import { NodeCatalog } from './node-catalog.js';
import { WorkerRuntime } from './worker-runtime.service.js';

@Module({
  imports: [
    MessagingModule.registerAsync({
      inject: [WorkerConfigService],
      useFactory: (config: WorkerConfigService) => ({
        instance: `worker ${config.workerId}`,
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
  ],
  providers: [NodeCatalog, WorkerRuntime],
})
export class RuntimeModule {}
