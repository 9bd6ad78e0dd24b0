import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Logger, Module, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import { StoreUnavailableError } from './errors.js';
import { ExecutionStore } from './execution-store.js';
import { postgresStore, sqliteStore } from './kysely-execution-store.js';
import { WriteGate } from './write-gate.js';

const OPEN_TRIES = 60;
const OPEN_RETRY_MS = 1_000;
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
    WriteGate,
  ],
  exports: [ExecutionStore, WriteGate],
})
export class StoreModule implements OnModuleInit, OnApplicationShutdown {
  private readonly logger = new Logger(StoreModule.name);

  constructor(private readonly store: ExecutionStore) {}

  /** A database that starts at the same time gets a minute; one that is set up wrongly fails the start at once. */
  async onModuleInit(): Promise<void> {
    for (let triesLeft = OPEN_TRIES; ; triesLeft--) {
      try {
        return await this.store.open();
      } catch (error) {
        if (!(error instanceof StoreUnavailableError) || triesLeft === 1) throw error;
        this.logger.warn(`${error.message}; trying again`);
        await delay(OPEN_RETRY_MS);
      }
    }
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
