import { setFlagsFromString } from 'node:v8';
import { Logger } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { AppModule } from './app.module.js';
import { OrchestratorConfigModule } from './config/config.module.js';
import { hasAuthentication } from './config/config.schema.js';
import { exitOnConfigError } from './config/exit-on-config-error.js';
import { createLogger } from './config/logger.js';
import { configureHttp, createHttpAdapter, HTTP_OPTIONS } from './orchestrator/api/http.js';
import { Shutdown } from './orchestrator/api/shutdown.js';
import { QueueManagementService } from './queue/queue-management.service.js';
import { FleetTransport } from './worker/fleet.transport.js';

const configuration = await exitOnConfigError(OrchestratorConfigModule.forRoot());
const { config } = configuration;
/**
 * By how much the heap may grow, of what was left of it the last time, until all of it is collected. With PostgreSQL by more
 * than V8 takes by itself (60, with this heap), or it is collected once a second under load, for a sixth of the CPU; beside
 * SQLite by less, to stay within 250 MB.
 */
const HEAP_GROWTH_PERCENT = { postgres: 80, sqlite: 40 };
const HEAP_GROWTH_FLAG = '--heap-growing-percent';
// One that was given by hand stands; V8 takes underscores as well.
if (!process.execArgv.some((flag) => flag.replaceAll('_', '-').startsWith(HEAP_GROWTH_FLAG))) {
  const store = config.databaseUrl === '' ? 'sqlite' : 'postgres';
  setFlagsFromString(`${HEAP_GROWTH_FLAG}=${HEAP_GROWTH_PERCENT[store]}`);
}
const logger = createLogger({
  service: 'orchestrator',
  instance: config.instanceId,
  level: config.logLevel,
  format: config.logFormat,
});

/** Ends the process for a reason that a stack trace would only hide. */
function fail(error: unknown): never {
  logger.fatal((error as Error).message);
  process.exit(1);
}

try {
  const app = await NestFactory.create<NestFastifyApplication>(
    { module: AppModule, imports: [configuration] },
    createHttpAdapter(config),
    { ...HTTP_OPTIONS, logger, abortOnError: false },
  );
  configureHttp(app, config);
  app.get(QueueManagementService).on('conflict', fail);
  app.connectMicroservice({ strategy: app.get(FleetTransport) });
  await app.startAllMicroservices();
  await app.listen(config.port, config.host);
  new Logger('Orchestrator').log(`listening on ${await app.getUrl()}`);
  if (!hasAuthentication(config)) {
    logger.warn(
      'without authentication: whoever reaches the API may do everything, so it listens on loopback only; set API_KEYS, JWT_SECRET or JWT_JWKS_URL to change that',
    );
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      setTimeout(
        () => fail(new Error(`not stopped within ${config.shutdownTimeoutMs} ms`)),
        config.shutdownTimeoutMs,
      ).unref();
      app.get(Shutdown).begin();
      app.close().then(() => process.exit(0), fail);
    });
  }
} catch (error) {
  fail(error);
}
