import { hostname } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import { NestFactory } from '@nestjs/core';
import { Command } from 'commander';
import { WorkerConfigModule } from './config/config.module.js';
import { exitOnConfigError } from './config/exit-on-config-error.js';
import { createLogger } from './config/logger.js';
import { RuntimeModule } from './runtime/runtime.module.js';
import { WorkerRuntime } from './runtime/worker-runtime.service.js';

const INTERRUPTED_EXIT = 130;

// A regular expression of a flow that backtracks without end would block every other flow of this process: V8 then
// goes on with an engine whose time is linear.
setFlagsFromString('--enable-experimental-regexp-engine-on-excessive-backtracks');
// Until the whole heap is collected it may grow to four times what was left of it the last time: the most that V8 takes by
// itself, too. Where little grows old, as with short flows, V8 else collects it all once a second, for a fifth of the CPU.
setFlagsFromString('--heap-growing-percent=300');

const program = new Command('worker')
  .description('Runs flows for flow-orchestrator. It is tuned through environment variables; see the README.')
  .option(
    '--id <id>',
    `name of this worker, the same across restarts (default: WORKER_ID, else ${hostname()})`,
  )
  .parse();

const { id } = program.opts<{ id?: string }>();
const configuration = await exitOnConfigError(WorkerConfigModule.forRoot(id ? { workerId: id } : {}));
const { workerId, logLevel, logFormat, workerDrainDeadlineMs } = configuration.config;
const logger = createLogger({ service: 'worker', instance: workerId, level: logLevel, format: logFormat });

const app = await NestFactory.createApplicationContext(
  { module: RuntimeModule, imports: [configuration] },
  { logger, abortOnError: false },
).catch((error: Error) => {
  logger.fatal(error.message);
  process.exit(1);
});
const runtime = app.get(WorkerRuntime);

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    void runtime.drain(workerDrainDeadlineMs, signal);
    // A second Ctrl-C does not wait; what runs is delivered to another worker.
    process.once('SIGINT', () => process.exit(INTERRUPTED_EXIT));
    // Whoever supervises the orchestrator too may ask beside its driver: one wish, and it is being heeded.
    process.on('SIGTERM', () => undefined);
  });
}

await runtime.finished;
await app.close();
process.exit(0);
