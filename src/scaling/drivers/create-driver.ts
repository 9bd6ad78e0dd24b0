import { join } from 'node:path';
import { Logger } from '@nestjs/common';
import type { OrchestratorConfigService } from '../../config/orchestrator-config.service.js';
import { dockerHost, kubernetesApiUrl } from '../../config/surroundings.js';
import { workerClassesOf } from '../../config/worker-class.js';
import type { WorkerDriver } from '../worker-driver.js';
import { DockerDriver } from './docker-driver.js';
import { KubernetesDriver } from './kubernetes-driver.js';
import { NoDriver } from './no-driver.js';
import { ProcessDriver } from './process-driver.js';
import { WebhookDriver } from './webhook-driver.js';

/** Below `DATA_DIR`: shared by the replicas of one machine. */
const WORKERS_FOLDER = 'workers';

type Environment = Readonly<Record<string, string | undefined>>;

const DRIVERS: Record<
  OrchestratorConfigService['workerDriver'],
  (config: OrchestratorConfigService, environment: Environment) => WorkerDriver
> = {
  none: () => new NoDriver(),
  process: (config, environment) =>
    new ProcessDriver({
      folder: join(config.dataDir, WORKERS_FOLDER),
      environment,
      drainDeadlineMs: config.workerDrainDeadlineMs,
      command: config.workerCommand,
      logger: new Logger(ProcessDriver.name),
      outputForm: isLogJson(config) ? 'json' : 'text',
    }),
  docker: (config, environment) =>
    new DockerDriver({
      host: dockerHost(),
      installation: config.amqpPrefix,
      image: config.dockerImage,
      network: config.dockerNetwork,
      environment,
      drainDeadlineMs: config.workerDrainDeadlineMs,
    }),
  kubernetes: (config) =>
    new KubernetesDriver({
      url: kubernetesApiUrl(),
      namespace: config.kubernetesNamespace,
      deployment: config.kubernetesDeployment,
      workerClasses: workerClassesOf(config).map(({ name }) => name),
    }),
  webhook: (config) =>
    new WebhookDriver({
      url: config.scalingWebhookUrl,
      secret: config.scalingWebhookSecret,
      installation: config.amqpPrefix,
    }),
};

/**
 * The driver that `WORKER_DRIVER` names.
 *
 * @param environment this process's, for workers that inherit theirs from it
 * @throws Error when the place that it needs is not here
 */
export function createDriver(config: OrchestratorConfigService, environment: Environment): WorkerDriver {
  return DRIVERS[config.workerDriver](config, environment);
}

function isLogJson({ logFormat }: OrchestratorConfigService): boolean {
  return logFormat === 'json' || (logFormat === 'auto' && !process.stdout.isTTY);
}
