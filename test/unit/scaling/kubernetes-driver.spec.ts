import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { kubernetesApiUrl } from '../../../src/config/surroundings.js';
import { parseWorkerClass } from '../../../src/config/worker-class.js';
import { KubernetesDriver } from '../../../src/scaling/drivers/kubernetes-driver.js';
import type { PoolWish, WorkerExit } from '../../../src/scaling/worker-driver.js';
import { Authority } from '../../support/certificates.js';
import { type ClusterDouble, type ClusterOptions, startKubernetesApi } from '../../support/kubernetes-api.js';
import { rightsOf } from '../../support/manifests.js';

const RIGHTS = rightsOf('examples/kubernetes/orchestrator-rights.yaml');

const wish = (instances: number, retire: string[] = [], name = 'general'): PoolWish => ({
  workerClass: parseWorkerClass(`${name}:0-9`),
  instances,
  reason: 'a test',
  retire,
});

describe('the kubernetes driver on the wire', () => {
  let folder: string;
  let cluster: ClusterDouble;
  let driver: KubernetesDriver;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'service-account-'));
    writeFileSync(join(folder, 'token'), 'token-1\n');
  });
  afterEach(async () => {
    await driver.stop();
    await cluster.close();
    rmSync(folder, { recursive: true, force: true });
  });

  async function begin(options: ClusterOptions = {}, workerClasses = ['general']): Promise<void> {
    cluster = await startKubernetesApi({ namespace: 'flows', rights: RIGHTS, ...options });
    cluster.addDeployment('flow-worker-general', 0);
    driver = new KubernetesDriver({
      url: cluster.url,
      namespace: 'flows',
      deployment: 'flow-worker-{class}',
      workerClasses,
      credentialsFolder: folder,
      pollMs: 60_000,
    });
    await driver.start();
  }

  const names = (): string[] => [...cluster.pods.keys()];
  const scale = '/apis/apps/v1/namespaces/flows/deployments/flow-worker-general/scale';
  const pods = '/api/v1/namespaces/flows/pods';
  const look = [`GET ${scale}`, `GET ${pods}?labelSelector=app%3Dflow-worker-general`];

  it('reads scale and pods, and patches only what is to change', async () => {
    await begin();
    await driver.reconcile([wish(2)]);
    expect(cluster.requests).toEqual([...look, `PATCH ${scale}`]);
    expect(names()).toHaveLength(2);
    cluster.requests.length = 0;
    await driver.reconcile([wish(2)]);
    expect(cluster.requests).toEqual(look);
  });

  it('says who goes first before it says how many go', async () => {
    await begin();
    await driver.reconcile([wish(3)]);
    const [first, second, third] = names() as [string, string, string];
    cluster.requests.length = 0;
    await driver.reconcile([wish(2, [second])]);
    expect(cluster.requests).toEqual([...look, `PATCH ${pods}/${second}`, `PATCH ${scale}`]);
    expect(cluster.pods.get(second)!.annotations).toEqual({
      'controller.kubernetes.io/pod-deletion-cost': '-2147483648',
    });
    expect([first, second, third].map((name) => cluster.pods.get(name)!.deletions)).toEqual([0, 1, 0]);
  });

  it('ends the one that was named also when Kubernetes prefers one that is not ready', async () => {
    await begin();
    await driver.reconcile([wish(3)]);
    const [named, unready] = names() as [string, string];
    cluster.pods.get(unready)!.isReady = false;
    await driver.reconcile([wish(2, [named])]);
    expect([named, unready].map((name) => cluster.pods.get(name)!.deletions)).toEqual([0, 1]);
    await driver.reconcile([wish(2, [named])]);
    expect(cluster.requests.at(-1)).toBe(`DELETE ${pods}/${named}`);
    await driver.reconcile([wish(2, [named])]);
    expect(cluster.pods.get(named)!.deletions).toBe(1);
    const instances = (await driver.instances())!;
    expect(instances.filter(({ retiring }) => !retiring)).toHaveLength(2);
    expect(instances.filter(({ retiring }) => retiring)).toHaveLength(2);
  });

  it('needs every right that the example gives it, and no other', async () => {
    await begin();
    await driver.reconcile([wish(2)]);
    await driver.reconcile([wish(1, [names()[0]!])]);
    cluster.finish(names()[0]!);
    await driver.reconcile([wish(1, names())]);
    expect([...cluster.used].toSorted()).toEqual(RIGHTS.toSorted());
  });

  it('tells of containers that ended by themselves and of pods that were given up', async () => {
    await begin();
    const exits: WorkerExit[] = [];
    driver.on('exit', (exit) => exits.push(exit));
    await driver.reconcile([wish(2)]);
    const [first, second] = names() as [string, string];
    cluster.restart(first, 137);
    cluster.evict(second);
    const instances = await driver.instances();
    expect(instances!.map(({ workerId }) => workerId)).not.toContain(second);
    expect(instances).toHaveLength(2);
    expect(exits).toMatchObject([
      { workerId: first, retiring: false, code: null, signal: 'SIGKILL' },
      { workerId: second, retiring: false, code: null, signal: null },
    ]);
  });

  it('reads its token anew, since Kubernetes replaces it', async () => {
    await begin();
    await driver.reconcile([wish(1)]);
    cluster.tokens.clear();
    cluster.tokens.add('token-2');
    await expect(driver.reconcile([wish(2)])).rejects.toThrow(
      "expected the Kubernetes API to take the token of this pod's service account, got 401: Unauthorized",
    );
    writeFileSync(join(folder, 'token'), 'token-2');
    await driver.reconcile([wish(2)]);
    expect(names()).toHaveLength(2);
  });

  it('checks the certificate of the API server against the authority in its pod', async () => {
    const authority = new Authority(join(folder, 'authority'));
    const { certFile, keyFile } = authority.sign('api-server', 'IP:127.0.0.1');
    await begin({ tls: { cert: readFileSync(certFile), key: readFileSync(keyFile) } });
    await expect(driver.reconcile([wish(1)])).rejects.toThrow(
      `expected the credentials of a service account in ${folder}/ca.crt, got ENOENT`,
    );
    const stranger = new Authority(join(folder, 'stranger'));
    writeFileSync(join(folder, 'ca.crt'), readFileSync(stranger.caFile));
    await expect(driver.reconcile([wish(1)])).rejects.toThrow(
      /^expected an answer of the Kubernetes API \(https:.+got .*certificate/,
    );
    writeFileSync(join(folder, 'ca.crt'), readFileSync(authority.caFile));
    await driver.stop();
    await driver.start();
    await driver.reconcile([wish(1)]);
    expect(names()).toHaveLength(1);
  });

  it.each(RIGHTS)('names the right that is missing: %s', async (missing) => {
    await begin();
    await driver.reconcile([wish(2)]);
    cluster.rights!.delete(missing);
    const [named] = names() as [string];
    const [verb, resource] = missing.split(' ') as [string, string];
    const instances = missing === 'delete pods' ? 2 : 1;
    await expect(driver.reconcile([wish(instances, [named])])).rejects.toThrow(
      new RegExp(
        `^expected the right to ${verb} ${resource}.* in namespace "flows", got 403: .*; give the service account of the orchestrator a Role with the verb "${verb}" on "${resource}"$`,
      ),
    );
  });

  it('names the Deployment that is missing, and scales the others', async () => {
    await begin({}, ['general', 'sql']);
    await expect(driver.reconcile([wish(1, [], 'sql'), wish(2)])).rejects.toThrow(
      /^expected a Deployment "flow-worker-sql" in namespace "flows", got 404: .*; create it, or correct KUBERNETES_DEPLOYMENT and KUBERNETES_NAMESPACE$/,
    );
    expect(names()).toHaveLength(2);
    expect((await driver.instances())!.map(({ workerId }) => workerId)).toEqual(names());
    cluster.deployments.clear();
    await expect(driver.instances()).rejects.toThrow('flow-worker-general');
  });

  it('says where it looked for its token', async () => {
    await begin();
    rmSync(join(folder, 'token'));
    await expect(driver.reconcile([wish(1)])).rejects.toThrow(
      `expected the credentials of a service account in ${folder}/token, got ENOENT`,
    );
  });
});

describe('the address of the API server', () => {
  it.each([
    [{ KUBERNETES_SERVICE_HOST: '10.0.0.1', KUBERNETES_SERVICE_PORT: '443' }, 'https://10.0.0.1:443'],
    [{ KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '6443' }, 'https://[fd00::1]:6443'],
  ])('is what a pod is told: %j', (environment, url) => {
    expect(kubernetesApiUrl(environment)).toBe(url);
  });

  it('is not there outside a pod', () => {
    expect(() => kubernetesApiUrl({})).toThrow('works in a pod of the cluster only');
  });
});
