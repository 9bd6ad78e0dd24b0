import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { OrchestratorVariables, WorkerVariables } from '../../src/config/config.schema.js';
import { readVariables } from '../../src/config/read-variables.js';
import { variablesOf } from '../../src/config/variable.js';
import { parseWorkerClass } from '../../src/config/worker-class.js';
import { Names, topology } from '../../src/queue/topology.js';
import { deploymentName } from '../../src/scaling/drivers/kubernetes-plan.js';
import { WebhookDriver, webhookSignature } from '../../src/scaling/drivers/webhook-driver.js';
import { type Manifest, manifestsOf } from '../support/manifests.js';

/**
 * The examples of docs/scaling-drivers.md. No schema of Kubernetes or KEDA is at hand here: what is checked is that the
 * files are YAML, have the fields that the API references call required, and agree with each other and with the code.
 */

const FOLDER = 'examples/kubernetes';
const NAMESPACE = 'flows';

interface EnvEntry {
  name: string;
  value?: unknown;
  valueFrom?: { fieldRef?: { fieldPath: string }; secretKeyRef?: { name: string; key: string } };
}

interface Deployment extends Manifest {
  spec: {
    replicas?: number;
    selector: { matchLabels: Record<string, string> };
    template: {
      metadata: { labels: Record<string, string> };
      spec: {
        terminationGracePeriodSeconds: number;
        automountServiceAccountToken: boolean;
        containers: { name: string; image: string; command: string[]; env: EnvEntry[] }[];
      };
    };
  };
}

interface ScaledObject extends Manifest {
  spec: {
    scaleTargetRef: { name: string };
    minReplicaCount: number;
    maxReplicaCount: number;
    triggers: { type: string; metadata: Record<string, unknown>; authenticationRef: { name: string } }[];
  };
}

interface TriggerAuthentication extends Manifest {
  spec: { secretTargetRef: { parameter: string; name: string; key: string }[] };
}

const one = <T extends Manifest>(file: string, kind: string): T => {
  const found = manifestsOf(`${FOLDER}/${file}`).filter((manifest) => manifest.kind === kind);
  expect(found).toHaveLength(1);
  return found[0] as T;
};

describe.each(['workers.yaml', 'orchestrator-rights.yaml', 'keda-desired.yaml', 'keda-rabbitmq.yaml'])(
  '%s',
  (file) => {
    it.each(manifestsOf(`${FOLDER}/${file}`))(
      '$kind $metadata.name says what it is and where',
      (manifest) => {
        const versions: Record<string, string> = {
          Deployment: 'apps/v1',
          ServiceAccount: 'v1',
          Role: 'rbac.authorization.k8s.io/v1',
          RoleBinding: 'rbac.authorization.k8s.io/v1',
          ScaledObject: 'keda.sh/v1alpha1',
          TriggerAuthentication: 'keda.sh/v1alpha1',
        };
        expect(manifest.apiVersion).toBe(versions[manifest.kind]);
        expect(manifest.metadata.name).toMatch(/^[a-z0-9][a-z0-9-]*$/);
        expect(manifest.metadata.namespace).toBe(NAMESPACE);
      },
    );
  },
);

describe('the Deployment of the workers', () => {
  const deployment = one<Deployment>('workers.yaml', 'Deployment');
  const { spec: podSpec, metadata } = deployment.spec.template;
  const [container] = podSpec.containers;
  const entry = (name: string): EnvEntry | undefined => container!.env.find((each) => each.name === name);

  it('selects its own pods, and leaves their number to others', () => {
    expect(metadata.labels).toMatchObject(deployment.spec.selector.matchLabels);
    expect(deployment.spec.replicas).toBeUndefined();
  });

  it('has the name that the orchestrator looks for', () => {
    const { kubernetesDeployment } = readVariables(OrchestratorVariables, {});
    expect(deployment.metadata.name).toBe(
      deploymentName(kubernetesDeployment, String(entry('WORKER_CLASS')?.value)),
    );
  });

  it('runs the worker under the name of its pod', () => {
    expect(podSpec.containers).toHaveLength(1);
    expect(container!.command).toEqual(['node', 'dist/worker.main.js']);
    expect(entry('WORKER_ID')?.valueFrom?.fieldRef?.fieldPath).toBe('metadata.name');
  });

  it('gives it variables of a worker, as text, and the broker from a secret', () => {
    const known = variablesOf(WorkerVariables).map(({ name }) => name);
    expect(container!.env.map(({ name }) => name).filter((name) => !known.includes(name))).toEqual([]);
    const values = container!.env.flatMap(({ value }) => (value === undefined ? [] : [typeof value]));
    expect(new Set(values)).toEqual(new Set(['string']));
    expect(entry('AMQP_URL')?.valueFrom?.secretKeyRef).toEqual({ name: 'flow-worker', key: 'amqpUrl' });
  });

  it('lets it drain before it is killed, and gives it no key to the cluster', () => {
    const drainMs = Number(entry('WORKER_DRAIN_DEADLINE_MS')?.value);
    expect(podSpec.terminationGracePeriodSeconds * 1000).toBeGreaterThan(drainMs + 10_000);
    expect(podSpec.automountServiceAccountToken).toBe(false);
  });
});

describe('the rights of the orchestrator', () => {
  it('are bound to its service account', () => {
    const file = 'orchestrator-rights.yaml';
    const [account, role] = [one(file, 'ServiceAccount'), one(file, 'Role')];
    expect(one(file, 'RoleBinding')).toMatchObject({
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: role.metadata.name },
      subjects: [{ kind: 'ServiceAccount', name: account.metadata.name, namespace: NAMESPACE }],
    });
    expect(role.rules).toEqual([
      { apiGroups: ['apps'], resources: ['deployments/scale'], verbs: expect.any(Array) },
      { apiGroups: [''], resources: ['pods'], verbs: expect.any(Array) },
    ]);
  });
});

describe.each(['keda-desired.yaml', 'keda-rabbitmq.yaml'])('the ScaledObject of %s', (file) => {
  const { spec } = one<ScaledObject>(file, 'ScaledObject');
  const authentication = one<TriggerAuthentication>(file, 'TriggerAuthentication');

  it('scales the Deployment of the workers within the bounds of its class', () => {
    expect(spec.scaleTargetRef.name).toBe(one('workers.yaml', 'Deployment').metadata.name);
    const { minWorkers, maxWorkers } = readVariables(OrchestratorVariables, {});
    expect([spec.minReplicaCount, spec.maxReplicaCount]).toEqual([minWorkers, maxWorkers]);
  });

  it('has triggers whose metadata are text, with the authentication of this file', () => {
    expect(spec.triggers.length).toBeGreaterThan(0);
    for (const { metadata, authenticationRef } of spec.triggers) {
      expect(Object.values(metadata).filter((value) => typeof value !== 'string')).toEqual([]);
      expect(authenticationRef.name).toBe(authentication.metadata.name);
    }
  });
});

describe('KEDA by the orchestrator’s number', () => {
  const [trigger] = one<ScaledObject>('keda-desired.yaml', 'ScaledObject').spec.triggers;
  const { metadata } = trigger!;

  it('finds a number in the answer and takes it as it is', () => {
    expect(trigger!.type).toBe('metrics-api');
    expect(new URL(String(metadata['url'])).pathname).toBe('/orchestrator/scaling/desired');
    const answer = {
      desired: 5,
      classes: { default: { desired: 5, min: 2, max: 20, reason: 'load' } },
    };
    const value = String(metadata['valueLocation'])
      .split('.')
      .reduce<unknown>((part, key) => (part as Record<string, unknown>)[key], answer);
    expect(value).toBe(5);
    expect(metadata['targetValue']).toBe('1');
  });

  it('shows its key in a header that the API reads', () => {
    expect(metadata).toMatchObject({ authMode: 'apiKey', method: 'header', keyParamName: 'X-API-Key' });
    const { secretTargetRef } = one<TriggerAuthentication>('keda-desired.yaml', 'TriggerAuthentication').spec;
    expect(secretTargetRef.map(({ parameter }) => parameter)).toEqual(['apiKey']);
  });
});

describe('KEDA by the length of the queues', () => {
  const { triggers } = one<ScaledObject>('keda-rabbitmq.yaml', 'ScaledObject').spec;

  it('looks at every queue in which tasks wait, and counts what is held too', () => {
    const waiting = topology(new Names(''))
      .queues.map(({ name }) => name)
      .filter((name) => name.startsWith('flow.ready.'));
    expect(triggers.map(({ metadata }) => metadata['queueName']).toSorted()).toEqual(waiting.toSorted());
    for (const { type, metadata } of triggers) {
      expect(type).toBe('rabbitmq');
      expect(metadata).toMatchObject({ protocol: 'http', mode: 'QueueLength' });
      expect(Number(metadata['value'])).toBe(readVariables(WorkerVariables, {}).workerMaxConcurrentFlows);
    }
  });
});

describe('the receiver of webhooks', () => {
  const secret = 'a secret for the tests';
  let child: ChildProcess;
  let lines: AsyncIterator<string>;
  let url: string;

  beforeEach(async () => {
    child = spawn(process.execPath, ['examples/scaling-webhook/receiver.mjs'], {
      env: { PATH: process.env.PATH, SCALING_WEBHOOK_SECRET: secret, PORT: '0' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    const { value } = await lines.next();
    url = `http://${String(value).replace('listening on ', '')}/`;
  });
  afterEach(async () => {
    const over = once(child, 'exit');
    child.kill('SIGTERM');
    expect(await over).toEqual([0, null]);
  });

  const message = (change: object = {}): string =>
    JSON.stringify({ workerClass: 'general', desired: 3, retire: [], reason: 'r', at: new Date().toISOString(), installation: '', ...change }); // prettier-ignore
  const nowS = (): number => Math.floor(Date.now() / 1000);

  async function post(body: string, timestamp = nowS(), signature?: string): Promise<number> {
    const headers = {
      'x-flow-timestamp': String(timestamp),
      'x-flow-signature': signature ?? webhookSignature(secret, String(timestamp), body),
      connection: 'close',
    };
    return (await fetch(url, { method: 'POST', body, headers })).status;
  }

  it('takes what the driver sends, and does it', async () => {
    const driver = new WebhookDriver({ url, secret, installation: 'shop-' });
    await driver.start();
    const wish = {
      workerClass: parseWorkerClass('sql:0-4'),
      instances: 2,
      reason: 'backlog',
      retire: ['sql-1'],
    };
    await driver.reconcile([wish]);
    await driver.stop();
    const { value } = await lines.next();
    expect(JSON.parse(String(value))).toEqual({
      workerClass: 'sql',
      desired: 2,
      retire: ['sql-1'],
      reason: 'backlog',
    });
  });

  it('refuses what was not signed with the secret, for this body and at this time', async () => {
    const body = message();
    expect(await post(body, nowS(), '')).toBe(401);
    expect(await post(body, nowS(), `sha256=${'0'.repeat(64)}`)).toBe(401);
    expect(await post(body, nowS(), webhookSignature('another secret', String(nowS()), body))).toBe(401);
    const signed = webhookSignature(secret, String(nowS()), body);
    expect(await post(message({ desired: 99 }), nowS(), signed)).toBe(401);
    expect(await post(body, nowS() + 10, signed)).toBe(401);
    expect(await post(body)).toBe(204);
  });

  it('refuses what is five minutes old, was sent before, or is older than the newest', async () => {
    const body = message();
    expect(await post(body, nowS() - 301)).toBe(401);
    expect(await post(body, nowS() + 330)).toBe(401);
    const earlier = message({ at: new Date(Date.now() - 60_000).toISOString() });
    expect(await post(body)).toBe(204);
    expect(await post(body)).toBe(409);
    expect(await post(earlier)).toBe(409);
    expect(await post(message({ workerClass: 'sql', at: new Date(Date.now() - 60_000).toISOString() }))).toBe(
      204,
    );
  });

  it('refuses what is too large or is no message', async () => {
    expect(await post(message({ reason: 'x'.repeat(1_100_000) }))).toBe(413);
    expect(await post('no JSON')).toBe(500);
  });
});
