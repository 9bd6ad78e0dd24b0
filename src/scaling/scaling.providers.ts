import type { Provider } from '@nestjs/common';
import { InheritedEnvironment } from '../config/inherited-environment.js';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import { DemandReader } from './demand-reader.js';
import { createDriver } from './drivers/create-driver.js';
import { ScalingOverview } from './scaling-overview.js';
import { ScalingService } from './scaling.service.js';
import { WorkerDriver } from './worker-driver.js';

/**
 * The scaling room, for the orchestrator's module, which also has to provide `Dispatching`. A list and not a module of
 * its own: it needs what the orchestrator knows, and the orchestrator starts it.
 */
export const SCALING_PROVIDERS: Provider[] = [
  {
    provide: WorkerDriver,
    inject: [OrchestratorConfigService, InheritedEnvironment],
    useFactory: (config: OrchestratorConfigService, { variables }: InheritedEnvironment) =>
      createDriver(config, variables),
  },
  DemandReader,
  ScalingService,
  ScalingOverview,
];
