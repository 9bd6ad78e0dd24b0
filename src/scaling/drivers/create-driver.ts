import { join } from 'node:path';
import { Logger } from '@nestjs/common';
import type { OrchestratorConfigService } from '../../config/orchestrator-config.service.js';
import { dockerHost, kubernetesApiUrl } from '../../config/surroundings.js';
import { workerClassesOf } from '../../config/worker-class.js';
import type { WorkerDriver } from '../worker-driver.js';

/** Below `DATA_DIR`: shared by the replicas of one machine. */
const WORKERS_FOLDER = 'workers';

type Environment = Readonly<Record<string, string | undefined>>;

/** Only the one that is asked for is loaded: what the others need (an HTTP client above all) takes a tenth of the heap. */
const DRIVERS: Record<
  OrchestratorConfigService['workerDriver'],
  (config: OrchestratorConfigService, environment: Environment) => Promise<WorkerDriver>
> = {
  none: async () => {
    const { NoDriver } = await import('./no-driver.js');
    return new NoDriver();
  },
  process: async (config, environment) => {
    const { ProcessDriver } = await import('./process-driver.js');
    return new ProcessDriver({
      folder: join(config.dataDir, WORKERS_FOLDER),
      environment,
      drainDeadlineMs: config.workerDrainDeadlineMs,
      command: config.workerCommand,
      logger: new Logger(ProcessDriver.name),
      outputForm: isLogJson(config) ? 'json' : 'text',
    });
  },
  docker: async (config, environment) => {
    const { DockerDriver } = await import('./docker-driver.js');
    return new DockerDriver({
      host: dockerHost(),
      installation: config.amqpPrefix,
      image: config.dockerImage,
      network: config.dockerNetwork,
      environment,
      drainDeadlineMs: config.workerDrainDeadlineMs,
    });
  },
  kubernetes: async (config) => {
    const { KubernetesDriver } = await import('./kubernetes-driver.js');
    return new KubernetesDriver({
      url: kubernetesApiUrl(),
      namespace: config.kubernetesNamespace,
      deployment: config.kubernetesDeployment,
      workerClasses: workerClassesOf(config).map(({ name }) => name),
    });
  },
  webhook: async (config) => {
    const { WebhookDriver } = await import('./webhook-driver.js');
    return new WebhookDriver({
      url: config.scalingWebhookUrl,
      secret: config.scalingWebhookSecret,
      installation: config.amqpPrefix,
    });
  },
};

/**
 * The driver that `WORKER_DRIVER` names.
 *
 * @param environment this process's, for workers that inherit theirs from it
 * @throws Error when the place that it needs is not here
 */
export function createDriver(
  config: OrchestratorConfigService,
  environment: Environment,
): Promise<WorkerDriver> {
  return DRIVERS[config.workerDriver](config, environment);
}

function isLogJson({ logFormat }: OrchestratorConfigService): boolean {
  return logFormat === 'json' || (logFormat === 'auto' && !process.stdout.isTTY);
}
