import type { Provider, Type } from '@nestjs/common';
import { OrchestratorController } from '../orchestrator.controller.js';
import { OrchestratorService } from '../orchestrator.service.js';
import { Authenticator } from './authenticator.js';
import { DeadLettersController } from './dead-letters.controller.js';
import { DeadLettersService } from './dead-letters.service.js';
import { ExecutionsController } from './executions.controller.js';
import { ExecutionsService } from './executions.service.js';
import { HealthController } from './health.controller.js';
import { HealthService } from './health.service.js';
import { MetricsController } from './metrics.controller.js';
import { Metrics } from './metrics.js';
import { ScalingController } from './scaling.controller.js';
import { ScalingRequests } from './scaling-requests.service.js';
import { Shutdown } from './shutdown.js';
import { WaitingFactsReader } from './waiting-facts.js';
import { WorkersController } from './workers.controller.js';

/**
 * The HTTP side of the orchestrator module, which also has to import `TerminusModule.forRoot({ logger: false })`.
 * Lists and not a module of their own: the core uses `Metrics`, the API uses the core, and modules must not cycle.
 */
export const API_CONTROLLERS: Type[] = [
  OrchestratorController,
  ExecutionsController,
  DeadLettersController,
  WorkersController,
  ScalingController,
  HealthController,
  MetricsController,
];
export const API_PROVIDERS: Provider[] = [
  OrchestratorService,
  ExecutionsService,
  DeadLettersService,
  HealthService,
  ScalingRequests,
  WaitingFactsReader,
  Metrics,
  Shutdown,
  Authenticator,
];
