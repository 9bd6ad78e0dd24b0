import { DockerDriver } from '../../src/scaling/drivers/docker-driver.js';
import { type EngineContainer, type EngineDouble, startDockerEngine } from '../support/docker-engine.js';
import { describeWorkerDriver, type WorkerDriverAdapter } from './worker-driver.js';

/** On a double of the Docker Engine: the wire shape, not a live engine. */
function dockerAdapter(): WorkerDriverAdapter {
  let engine: EngineDouble;
  const labelsOf = ({ spec }: EngineContainer): Record<string, string> => spec.Labels ?? {};
  return {
    knowsInstances: true,
    seesCrashes: true,
    endsOnShutdown: false,
    endsOnlyWhomItIsTold: true,
    begin: async () => {
      engine = await startDockerEngine();
    },
    create: () =>
      new DockerDriver({
        host: engine.host,
        installation: 'shop-',
        image: 'flow-orchestrator:latest',
        network: '',
        environment: {},
        drainDeadlineMs: 30_000,
        pollMs: 50,
      }),
    outside: async () =>
      [...engine.containers.values()]
        .filter(({ status }) => status === 'running')
        .map((container) => ({
          workerId: labelsOf(container)['flow-orchestrator.worker-id']!,
          workerClass: labelsOf(container)['flow-orchestrator.worker-class']!,
          askedToEnd: container.signals.filter((signal) => signal === 'SIGTERM').length,
        })),
    finish: async (workerId) => engine.exit(engine.byWorker(workerId), 0),
    crash: async (workerId) => engine.exit(engine.byWorker(workerId), 137),
    breakPlace: async () => {
      engine.before = (request) =>
        request.includes('/start') ? { status: 500, message: 'no space left on device' } : undefined;
    },
    mendPlace: async () => {
      engine.before = undefined;
    },
    end: () => engine.close(),
  };
}

describeWorkerDriver('docker', dockerAdapter);
