import { type DynamicModule, Module, type Type } from '@nestjs/common';
import { ConfigModule } from '@nestjs/config';
import { InheritedEnvironment } from './inherited-environment.js';
import { OrchestratorConfigService } from './orchestrator-config.service.js';
import { readVariables } from './read-variables.js';
import { WorkerConfigService } from './worker-config.service.js';

/** A global module that provides the configuration, and the configuration itself for what comes before Nest. */
export interface LoadedConfigModule<T> extends DynamicModule {
  config: T;
}

/** Import it beside the root module: `{ module: AppModule, imports: [await OrchestratorConfigModule.forRoot()] }`. */
@Module({})
export class OrchestratorConfigModule {
  /**
   * Reads the environment and `.env` of the working directory (the environment wins).
   *
   * @param overrides values that win over both
   * @throws ConfigError naming every bad variable
   */
  static forRoot(
    overrides: Partial<OrchestratorConfigService> = {},
  ): Promise<LoadedConfigModule<OrchestratorConfigService>> {
    return load(OrchestratorConfigModule, OrchestratorConfigService, overrides);
  }
}

/** As `OrchestratorConfigModule`, for a worker: `WorkerConfigModule.forRoot({ workerId: flags.id })`. */
@Module({})
export class WorkerConfigModule {
  static forRoot(
    overrides: Partial<WorkerConfigService> = {},
  ): Promise<LoadedConfigModule<WorkerConfigService>> {
    return load(WorkerConfigModule, WorkerConfigService, overrides);
  }
}

async function load<T extends object>(
  module: Type,
  service: Type<T>,
  overrides: Partial<T>,
): Promise<LoadedConfigModule<T>> {
  const loaded: { config?: T; inherited?: InheritedEnvironment } = {};
  // An object, not the values: @nestjs/config would write plain values into process.env.
  await ConfigModule.forRoot({
    validate: (environment) =>
      Object.assign(loaded, {
        config: readVariables(service, environment, overrides),
        inherited: new InheritedEnvironment(environment),
      }),
  });
  const config = loaded.config as T;
  // @nestjs/config's own ConfigService stays out of the container: it would hand out process.env to everyone.
  return {
    module,
    global: true,
    providers: [
      { provide: service, useValue: config },
      { provide: InheritedEnvironment, useValue: loaded.inherited },
    ],
    exports: [service, InheritedEnvironment],
    config,
  };
}
