import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { parseWorkerClass } from '../../../src/config/worker-class.js';
import { DockerDriver, type DockerDriverOptions } from '../../../src/scaling/drivers/docker-driver.js';
import { chooseVersion } from '../../../src/scaling/drivers/docker-engine.js';
import { retiringName } from '../../../src/scaling/drivers/docker-plan.js';
import type { PoolWish, WorkerExit } from '../../../src/scaling/worker-driver.js';
import { type EngineContainer, type EngineDouble, startDockerEngine } from '../../support/docker-engine.js';

const wish = (instances: number, retire: string[] = [], entry = 'general:0-9'): PoolWish => ({
  workerClass: parseWorkerClass(entry),
  instances,
  reason: 'a test',
  retire,
});

describe('the docker driver on the wire', () => {
  let engine: EngineDouble;
  let drivers: DockerDriver[];

  beforeEach(async () => {
    drivers = [];
    engine = await startDockerEngine({ networks: ['bridge', 'flows'] });
  });
  afterEach(async () => {
    await Promise.all(drivers.map((driver) => driver.stop()));
    await engine.close();
  });

  async function begun(options: Partial<DockerDriverOptions> = {}): Promise<DockerDriver> {
    const driver = new DockerDriver({
      host: engine.host,
      installation: 'shop-',
      image: 'flow-orchestrator:latest',
      network: '',
      environment: {},
      drainDeadlineMs: 30_000,
      pollMs: 60_000,
      ...options,
    });
    drivers.push(driver);
    await driver.start();
    return driver;
  }

  const all = (): EngineContainer[] => [...engine.containers.values()];
  const exitsOf = (driver: DockerDriver): WorkerExit[] => {
    const exits: WorkerExit[] = [];
    driver.on('exit', (exit) => exits.push(exit));
    return exits;
  };

  it('asks for the version once, lists by label, creates under the name of the worker and starts it', async () => {
    const driver = await begun();
    await driver.reconcile([wish(1)]);
    const [container] = all();
    const filters = encodeURIComponent('{"label":["flow-orchestrator.installation=shop-"]}');
    const list = `GET /v1.44/containers/json?all=true&filters=${filters}`;
    expect(engine.requests).toEqual([
      'GET /version',
      list,
      `POST /v1.44/containers/create?name=${container!.name}`,
      `POST /v1.44/containers/${container!.id}/start`,
    ]);
    await driver.reconcile([wish(1)]);
    expect(engine.requests.slice(4)).toEqual([list]);
  });

  it('describes a container that is a worker, ends gracefully for everybody, and is not restarted', async () => {
    const driver = await begun({ network: 'flows', environment: { AMQP_URL: 'amqp://broker' } });
    await driver.reconcile([wish(1, [], 'sql:0-2:postgresql-query+data-filter')]);
    const [{ name, spec }] = all() as [EngineContainer];
    expect(name).toMatch(/^sql-[0-9a-f]{8}$/);
    expect(spec).toEqual({
      Image: 'flow-orchestrator:latest',
      Cmd: ['node', 'dist/worker.main.js'],
      Env: [
        'AMQP_URL=amqp://broker',
        'WORKER_NODE_TYPES=postgresql-query,data-filter',
        `WORKER_ID=${name}`,
        'WORKER_CLASS=sql',
        'WORKER_DRAIN_DEADLINE_MS=30000',
      ],
      Labels: {
        'flow-orchestrator.installation': 'shop-',
        'flow-orchestrator.worker-class': 'sql',
        'flow-orchestrator.worker-id': name,
      },
      StopSignal: 'SIGTERM',
      StopTimeout: 40,
      Healthcheck: { Test: ['NONE'] },
      HostConfig: {
        NetworkMode: 'flows',
        RestartPolicy: { Name: 'no' },
        SecurityOpt: ['no-new-privileges'],
      },
    });
  });

  it('gives a worker nothing that only orchestrators read', async () => {
    const secrets = {
      DATABASE_URL: 'postgres://secret',
      API_KEYS: 'a:read:secret-secret-secret',
      JWT_SECRET: 'secret'.repeat(8),
      SCALING_WEBHOOK_SECRET: 'secret-secret-secret',
      HOME: '/root',
    };
    const theirs = { AMQP_PREFIX: 'shop-', FLOW_CONNECTION_SALES: 'postgres://sales', LOG_LEVEL: 'warn' };
    const driver = await begun({ environment: { ...secrets, ...theirs } });
    await driver.reconcile([wish(1)]);
    const names = all()[0]!.spec.Env!.map((entry) => entry.split('=', 1)[0]);
    expect(names).toEqual([...Object.keys(theirs), 'WORKER_ID', 'WORKER_CLASS', 'WORKER_DRAIN_DEADLINE_MS']);
  });

  it('leaves alone what is of another installation, or nobody’s', async () => {
    for (const installation of ['', 'other-']) {
      await (await begun({ installation })).reconcile([wish(1)]);
    }
    const [unnamed, other] = all();
    const driver = await begun();
    const exits = exitsOf(driver);
    engine.exit(other!, 1);
    await driver.reconcile([wish(0, [unnamed!.name, other!.name])]);
    expect(await driver.instances()).toEqual([]);
    expect(exits).toEqual([]);
    expect(all()).toEqual([unnamed, other]);
    expect(unnamed!.signals).toEqual([]);
    const first = drivers[0]!;
    expect(await first.instances()).toHaveLength(1);
  });

  it('asks with SIGTERM, then leaves it in the name that it did', async () => {
    const driver = await begun();
    await driver.reconcile([wish(1)]);
    const [container] = all();
    const workerId = container!.name;
    engine.requests.length = 0;
    await driver.reconcile([wish(0, [workerId])]);
    const path = `/v1.44/containers/${container!.id}`;
    expect(engine.requests.slice(1)).toEqual([
      `POST ${path}/kill?signal=SIGTERM`,
      `POST ${path}/rename?name=${container!.name}`,
    ]);
    expect(container!.name).toMatch(new RegExp(`^${workerId}\\.retiring\\.\\d{10}$`));
    expect(await driver.instances()).toMatchObject([{ workerId, retiring: true }]);
  });

  it('kills one that was asked to end, and goes on beyond deadline and grace', async () => {
    const driver = await begun({ drainDeadlineMs: 30_000, graceMs: 10_000 });
    await driver.reconcile([wish(2)]);
    const [late, still] = all() as [EngineContainer, EngineContainer];
    const names = [late.name, still.name];
    late.name = retiringName(late.name, Date.now() - 41_000);
    still.name = retiringName(still.name, Date.now() - 38_000);
    const exits = exitsOf(driver);
    await driver.reconcile([wish(0, names)]);
    expect([late.signals, still.signals]).toEqual([['SIGKILL'], []]);
    await driver.reconcile([wish(0, names)]);
    expect(exits).toMatchObject([{ workerId: names[0], retiring: true, code: null, signal: 'SIGKILL' }]);
  });

  it('tells of ends, those that nobody saw included, and removes the containers with their volumes', async () => {
    const first = await begun();
    await first.reconcile([wish(2)]);
    const [one, other] = all() as [EngineContainer, EngineContainer];
    await first.stop();
    one.startedAt = '2026-11-21T10:00:00.5Z';
    engine.exit(one, 3);
    one.finishedAt = '2026-11-21T10:01:00Z';
    engine.exit(other, 137);
    const driver = await begun();
    const exits = exitsOf(driver);
    engine.requests.length = 0;
    await driver.reconcile([wish(0)]);
    const common = { workerClass: 'general', retiring: false };
    expect(exits).toContainEqual({ ...common, workerId: one.name, code: 3, signal: null, livedMs: 59_500 });
    expect(exits).toContainEqual({
      ...common,
      workerId: other.name,
      code: null,
      signal: 'SIGKILL',
      livedMs: expect.any(Number),
    });
    expect(exits).toHaveLength(2);
    expect(all()).toEqual([]);
    expect(engine.requests).toContain(`DELETE /v1.44/containers/${one.id}?v=true`);
  });

  it('removes what was created and never started, and starts another in its place', async () => {
    const driver = await begun();
    engine.before = (request) =>
      /\/start$|^DELETE/.test(request) ? { status: 500, message: 'the engine is ending' } : undefined;
    await expect(driver.reconcile([wish(1)])).rejects.toThrow(
      /^expected 204 from the Docker Engine for POST \/v1\.44\/containers\/\w+\/start, got 500: the engine is ending$/,
    );
    expect(all()).toMatchObject([{ status: 'created' }]);
    engine.before = undefined;
    const exits = exitsOf(driver);
    await driver.reconcile([wish(1)]);
    expect(all()).toMatchObject([{ status: 'running' }]);
    expect(exits).toEqual([]);
  });

  it.each([
    ['an image that is not there', { image: 'flows:9' }, /got 404: No such image: flows:9$/],
    ['a network that is not there', { network: 'nowhere' }, /got 404: network nowhere not found$/],
  ])('says so of %s, once for all workers, and leaves nothing behind', async (_what, options, message) => {
    const driver = await begun(options);
    await expect(driver.reconcile([wish(5)])).rejects.toThrow(message);
    expect(all()).toEqual([]);
  });

  it('does for the other classes what it can when one fails', async () => {
    const driver = await begun();
    engine.before = (request) => (request.includes('name=sql-') ? { status: 500, message: 'no' } : undefined);
    await expect(driver.reconcile([wish(1, [], 'sql:0-2'), wish(2)])).rejects.toThrow(/got 500: no$/);
    expect(all()).toHaveLength(2);
  });
});

describe('a Docker Engine', () => {
  it.each([
    [{ ApiVersion: '1.57', MinAPIVersion: '1.44' }, '1.44'],
    [{ ApiVersion: '1.41', MinAPIVersion: '1.12' }, '1.41'],
    [{ ApiVersion: '1.60', MinAPIVersion: '1.50' }, '1.50'],
    [{ ApiVersion: '1.43' }, '1.43'],
  ])('that answers %j is spoken to in %s', (engine, version) => {
    expect(chooseVersion(engine)).toBe(version);
  });

  it.each(['1.40', '1.9', 'podman'])('with API %s is too old', (ApiVersion) => {
    expect(() => chooseVersion({ ApiVersion })).toThrow(
      `expected a Docker Engine with API 1.41 or later (Docker 20.10), got one with API ${ApiVersion}`,
    );
  });

  it('that takes only newer versions gets one of those', async () => {
    const engine = await startDockerEngine({ apiVersion: '1.60', minApiVersion: '1.50' });
    const driver = new DockerDriver(optionsFor(engine.host));
    await driver.start();
    await driver.reconcile([wish(1)]);
    expect(engine.containers.size).toBe(1);
    expect(engine.requests[1]).toMatch(/^GET \/v1\.50\//);
    await driver.stop();
    await engine.close();
  });

  it('that cannot be reached is an error in each round, until it can', async () => {
    const gone = await startDockerEngine();
    await gone.close();
    const driver = new DockerDriver(optionsFor(gone.host));
    await driver.start();
    await expect(driver.reconcile([wish(1)])).rejects.toThrow(
      `expected an answer of the Docker Engine (${gone.host.slice('unix://'.length)}) within 30000 ms, got connect ENOENT`,
    );
    await expect(driver.instances()).rejects.toThrow('the Docker Engine');
    await driver.stop();
  });

  it.each(['ssh://host', 'https://host:2376', '/var/run/docker.sock'])('at %s is refused', async (host) => {
    await expect(new DockerDriver(optionsFor(host)).start()).rejects.toThrow(
      `expected the Docker Engine at unix:///path, tcp://host:port or http://host:port, got "${host}"`,
    );
  });
});

const optionsFor = (host: string): DockerDriverOptions => ({
  host,
  installation: '',
  image: 'flow-orchestrator:latest',
  network: '',
  environment: {},
  drainDeadlineMs: 1_000,
});
