import { join } from 'node:path';
import { Logger, Module, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import { ExecutionStore } from './execution-store.js';
import { postgresStore, sqliteStore } from './kysely-execution-store.js';

const SQLITE_FILE = 'flow-orchestrator.db';

/**
 * Provides the `ExecutionStore` that the configuration names. It is open before any module that imports this one
 * starts, and closes in Nest's very last hook, after the HTTP server: everything else may write until then, in
 * `onModuleDestroy` and `beforeApplicationShutdown`.
 */
@Module({
  providers: [
    {
      provide: ExecutionStore,
      inject: [OrchestratorConfigService],
      useFactory: createStore,
    },
  ],
  exports: [ExecutionStore],
})
export class StoreModule implements OnModuleInit, OnApplicationShutdown {
  constructor(private readonly store: ExecutionStore) {}

  async onModuleInit(): Promise<void> {
    await this.store.open();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.store.close();
  }
}

function createStore(config: OrchestratorConfigService): ExecutionStore {
  const { databaseUrl, databasePoolSize, dataDir } = config;
  if (databaseUrl === '') return sqliteStore(join(dataDir, SQLITE_FILE));
  const logger = new Logger(ExecutionStore.name);
  return postgresStore({
    url: databaseUrl,
    poolSize: databasePoolSize,
    onWarning: (message) => logger.warn(message),
  });
}
