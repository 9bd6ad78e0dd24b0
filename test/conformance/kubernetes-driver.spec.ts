import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KubernetesDriver } from '../../src/scaling/drivers/kubernetes-driver.js';
import { type ClusterDouble, startKubernetesApi } from '../support/kubernetes-api.js';
import { rightsOf } from '../support/manifests.js';
import { describeWorkerDriver, type WorkerDriverAdapter } from './worker-driver.js';

/** On a double of the Kubernetes API, with the rights of examples/kubernetes: the wire shape, not a live cluster. */
function kubernetesAdapter(): WorkerDriverAdapter {
  let cluster: ClusterDouble;
  const rights = rightsOf('examples/kubernetes/orchestrator-rights.yaml');
  const folder = mkdtempSync(join(tmpdir(), 'service-account-'));
  writeFileSync(join(folder, 'token'), 'token-1\n');
  return {
    knowsInstances: true,
    seesCrashes: true,
    endsOnShutdown: false,
    endsOnlyWhomItIsTold: false,
    begin: async () => {
      cluster = await startKubernetesApi({ namespace: 'flows', token: 'token-1', rights });
      cluster.addDeployment('flow-worker-general', 0);
      cluster.addDeployment('flow-worker-sql', 0);
    },
    create: () =>
      new KubernetesDriver({
        url: cluster.url,
        namespace: 'flows',
        deployment: 'flow-worker-{class}',
        workerClasses: ['general', 'sql'],
        credentialsFolder: folder,
        pollMs: 50,
      }),
    outside: async () =>
      [...cluster.pods.values()].map(({ name, deployment, deletions }) => ({
        workerId: name,
        workerClass: deployment.replace('flow-worker-', ''),
        askedToEnd: deletions,
      })),
    finish: async (workerId) => cluster.finish(workerId),
    crash: async (workerId) => cluster.restart(workerId, 137),
    breakPlace: async () => void cluster.rights!.delete('patch deployments/scale'),
    mendPlace: async () => void cluster.rights!.add('patch deployments/scale'),
    end: async () => {
      await cluster.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

describeWorkerDriver('kubernetes', kubernetesAdapter);
