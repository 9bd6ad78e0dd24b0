import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { ProcessDriver, ProcessDriverOptions } from '../../src/scaling/drivers/process-driver.js';
import { processTable } from '../../src/scaling/drivers/process-table.js';
import type { WorkerExit } from '../../src/scaling/worker-driver.js';
import { delayFlow } from '../support/api-client.js';
import { System } from '../support/system.js';
import { wish, workerClass, WorkerOwner } from '../support/worker-owner.js';
import { processAdapter, ProcessPlace } from './process-adapter.js';
import { describeWorkerDriver, until } from './worker-driver.js';

describeWorkerDriver('process', processAdapter);

/** What only processes of one machine can show. */
describe('workers as processes', () => {
  let place: ProcessPlace;
  let drivers: ProcessDriver[];
  let owners: WorkerOwner[];
  let strangers: ChildProcess[];
  let exits: WorkerExit[];

  beforeEach(() => {
    place = new ProcessPlace();
    drivers = [];
    owners = [];
    strangers = [];
    exits = [];
  });
  afterEach(async () => {
    await Promise.all(drivers.map((driver) => driver.stop()));
    await Promise.all(owners.map((owner) => owner.kill()));
    strangers.forEach((stranger) => stranger.kill('SIGKILL'));
    await place.end();
  });

  /** A driver of this process whose term has begun. */
  async function begun(given: Partial<ProcessDriverOptions> = {}): Promise<ProcessDriver> {
    const driver = place.driver(given);
    drivers.push(driver);
    driver.on('exit', (exit) => exits.push(exit));
    await driver.start();
    return driver;
  }

  /** A driver of a process of its own whose term has begun. */
  async function begunElsewhere(given: Partial<ProcessDriverOptions> = {}): Promise<WorkerOwner> {
    const owner = new WorkerOwner(place.options(given));
    owners.push(owner);
    await owner.start();
    return owner;
  }

  const ready = (count: number) =>
    until(`${count} workers run`, async () => (place.workers().length === count ? place.workers() : null));
  const readyOne = async () => (await ready(1))[0]!;
  const ids = (workers: { workerId: string }[]): string[] =>
    workers.map(({ workerId }) => workerId).toSorted();
  const exit = (index = 0): Promise<WorkerExit> =>
    until(`${index + 1} have ended`, async () => exits[index] ?? null);
  const line = (text: string): Promise<string> =>
    until(`"${text}" was passed on`, async () => place.lines.find((each) => each.includes(text)) ?? null);

  describe('what a worker is given', () => {
    it('has a name of its class, its class and its node types, and a session of its own', async () => {
      const driver = await begun();
      const sql = { ...wish('sql', 1), workerClass: workerClass('sql', ['postgresql-query', 'log']) };
      await driver.reconcile([wish('general', 1), sql]);
      const workers = await ready(2);
      for (const { workerId, workerClass: name, environment, pid } of workers) {
        expect(workerId).toMatch(new RegExp(`^${name}-[a-z0-9]{8}$`));
        expect(environment).toMatchObject({ WORKER_ID: workerId, WORKER_CLASS: name, LOG_FORMAT: 'json' });
        // A signal to the group reaches it alone: it leads one.
        expect(() => process.kill(-pid, 0)).not.toThrow();
      }
      const types = workers.map(({ environment }) => environment.WORKER_NODE_TYPES ?? null);
      expect(types.toSorted()).toEqual(['postgresql-query,log', null].toSorted());
    });

    it('inherits what is meant for workers, and no secret of the orchestrator', async () => {
      const meant = {
        AMQP_URL: 'amqp://flow:flow-password@127.0.0.1:5672',
        AMQP_PREFIX: 'p-',
        HEARTBEAT_INTERVAL_MS: '1234',
        WORKER_MAX_CONCURRENT_FLOWS: '7',
        FLOW_CONNECTION_SALES: 'postgres://sales',
        HTTP_ALLOW_HOSTS: 'intranet',
        LOG_FORMAT: 'pretty',
        NODE_ENV: 'production',
        https_proxy: 'http://proxy',
      };
      const secret = {
        DATABASE_URL: 'postgres://secret-1@db',
        API_KEYS: 'admin:read:secret-2-secret-2-secret',
        JWT_SECRET: 'secret-3',
        SCALING_WEBHOOK_SECRET: 'secret-4',
        PGPASSWORD: 'secret-5',
        CLOUD_SECRET_ACCESS_KEY: 'secret-6',
        WORKER_ID: 'the-orchestrators-own',
        WORKER_COMMAND: 'secret-7',
      };
      const driver = await begun({ environment: { ...meant, ...secret } });
      await driver.reconcile([wish('general', 1)]);
      const { environment } = await readyOne();
      expect(environment).toMatchObject(meant);
      expect(environment).toMatchObject({ WORKER_DRAIN_DEADLINE_MS: '30000', NO_COLOR: '1' });
      expect(Object.keys(secret).filter((name) => name !== 'WORKER_ID' && name in environment)).toEqual([]);
      expect(Object.values(environment).join(' ')).not.toMatch(/secret|the-orchestrators-own/);
    });
  });

  describe('what workers write', () => {
    it('is passed on line by line behind their name', async () => {
      const says = '{"level":"info","msg":"one"}\nplain \u001F two\n\nto amqp://user:password@host/ and on';
      const driver = await begun({ environment: { WORKER_SAYS: says } });
      await driver.reconcile([wish('general', 1)]);
      const { workerId } = await readyOne();
      await line('to amqp');
      expect(place.lines).toEqual([
        `[${workerId}] {"level":"info","msg":"one"}`,
        `[${workerId}] plain \u001F two`,
        `[${workerId}] to amqp://***@host/ and on`,
      ]);
    });

    it('is a JSON line each where the orchestrator writes JSON', async () => {
      const says = '{"level":"warn","instance":"someone","msg":"one"}\nplain "two"';
      const driver = await begun({ environment: { WORKER_SAYS: says }, outputForm: 'json' });
      await driver.reconcile([wish('general', 1)]);
      const { workerId } = await readyOne();
      await line('two');
      const lines = place.lines.map((each) => JSON.parse(each) as object);
      expect(lines[0]).toMatchObject({ level: 'warn', msg: 'one' });
      expect(place.lines[0]).toContain(workerId);
      expect(lines[1]).toMatchObject({ service: 'worker', instance: workerId, msg: 'plain "two"' });
    });

    it('goes on in the next term where it was left when the owner was killed: nothing missing, little twice', async () => {
      const first = await begunElsewhere({ environment: { WORKER_COUNTS_MS: '5' } });
      await first.reconcile([wish('general', 1)]);
      const { workerId } = await readyOne();
      await until('it has counted', async () => first.lines.length > 20 || null);
      await first.kill();
      await pause(100);
      await begun();
      const heard = await until('it counts on', async () => {
        const more = place.lines.length > 100;
        return more ? [...first.lines, ...place.lines] : null;
      });
      const prefix = `[${workerId}] count `;
      const counts = heard.map((each) => Number(each.slice(prefix.length)));
      const highest = Math.max(...counts);
      expect([...new Set(counts)].toSorted((a, b) => a - b)).toEqual(
        Array.from({ length: highest }, (_, index) => index + 1),
      );
      // One look's worth at most.
      expect(counts.length - highest).toBeLessThan(100);
    });

    it('is shown when a worker crashes, and its files are removed', async () => {
      const driver = await begun({
        environment: {
          WORKER_SAYS: 'about to fail',
          WORKER_FAILS: 'no such broker: amqp://user:secret@host',
        },
      });
      await driver.reconcile([wish('general', 1)]);
      expect(await exit()).toMatchObject({ workerClass: 'general', code: 1, signal: null, retiring: false });
      expect(exits[0]!.livedMs).toBeGreaterThan(5);
      const [{ workerId }] = exits as [WorkerExit];
      expect(place.warned).toHaveLength(1);
      expect(place.warned[0]).toMatch(
        new RegExp(`^worker ${workerId} ended without being asked: exit code 1, \\d+\\.\\d s after`),
      );
      expect(place.warned[0]).toContain('Error: no such broker: amqp://***@host');
      expect(place.lines).toContain(`[${workerId}] about to fail`);
      expect(place.files()).toEqual([]);
    });
  });

  describe('a program that cannot be started', () => {
    it.each([
      ['is not there', ['/no/such/program', '--fast'], /not found|No such file/i],
      ['is not in the PATH', ['no-such-program'], /not found|No such file/i],
      ['is no program', ['/etc'], /permission denied|is a directory/i],
    ])(
      'because it %s is told of like a crash, and the rest of the round is done',
      async (_, command, why) => {
        const driver = await begun({ command });
        await driver.reconcile([wish('general', 2), wish('sql', 1)]);
        await exit(2);
        expect(exits.map((each) => each.workerClass).toSorted()).toEqual(['general', 'general', 'sql']);
        for (const each of exits) {
          expect(each).toMatchObject({ code: null, signal: null, livedMs: 0, retiring: false });
        }
        expect(place.warned).toHaveLength(3);
        expect(place.warned[0]).toMatch(/^worker \w+-\w+ could not be started, see WORKER_COMMAND/);
        expect(place.warned[0]).toMatch(why);
        expect(await driver.instances()).toEqual([]);
        expect(place.files()).toEqual([]);
      },
    );
  });

  describe('the time to drain', () => {
    it('is given in full before a worker is killed', async () => {
      const driver = await begun({ drainDeadlineMs: 500, graceMs: 300 });
      await driver.reconcile([wish('general', 1)]);
      const { workerId } = await readyOne();
      const since = performance.now();
      await driver.reconcile([wish('general', 0, [workerId])]);
      expect(await exit()).toMatchObject({ workerId, retiring: true, code: null, signal: 'SIGKILL' });
      expect(performance.now() - since).toBeGreaterThan(800);
      expect(place.warned).toEqual([expect.stringContaining(`${workerId} did not end within 800 ms`)]);
    });

    it('holds for a worker that is taken over while it drains, and it is not asked again', async () => {
      const first = await begunElsewhere({ drainDeadlineMs: 60_000 });
      await first.reconcile([wish('general', 1)]);
      const { workerId } = await readyOne();
      await first.reconcile([wish('general', 0, [workerId])]);
      await until('it was asked', async () => place.workers()[0]!.askedToEnd === 1 || null);
      await first.kill();
      const since = performance.now();
      const second = await begun({ drainDeadlineMs: 400, graceMs: 200 });
      expect(await second.instances()).toMatchObject([{ workerId, retiring: true }]);
      await second.reconcile([wish('general', 0, [workerId])]);
      await pause(100);
      expect(place.workers()).toMatchObject([{ workerId, askedToEnd: 1 }]);
      // How it ended is its parent's to know.
      expect(await exit()).toMatchObject({ workerId, retiring: true, code: null, signal: null });
      expect(performance.now() - since).toBeGreaterThan(600);
    });
  });

  describe('owners that come and go', () => {
    it('leave their workers running when they are killed, and the next one has them', async () => {
      const first = await begunElsewhere();
      await first.reconcile([wish('general', 2)]);
      const workers = await ready(2);
      await first.kill();
      const second = await begunElsewhere();
      expect(ids(await second.instances())).toEqual(ids(workers));
      await second.reconcile([wish('general', 2)]);
      await pause(300);
      expect(ids(place.workers())).toEqual(ids(workers));

      const [lost, kept] = [workers[0]!, workers[1]!];
      process.kill(lost.pid, 'SIGKILL');
      const ended = await until('its end is seen', async () => second.exits[0] ?? null);
      expect(ended).toMatchObject({ workerId: lost.workerId, retiring: false, code: null, signal: null });
      expect(ended.livedMs).toBeGreaterThan(0);
      expect(ids(await second.instances())).toEqual([kept.workerId]);
    });

    it('leave no worker unknown, at whatever moment of a start they are killed', async () => {
      for (let killAfterMs = 1; killAfterMs <= 31; killAfterMs += 6) {
        const owner = await begunElsewhere();
        void owner.reconcile([wish('general', 30)]).catch(() => undefined);
        await pause(killAfterMs);
        await owner.kill();
      }
      const driver = await begun();
      const instances = ids((await driver.instances())!);
      await until('those on file are ready', async () => place.workers().length >= instances.length || null);
      // The time in which one that nobody knows would come up.
      await pause(500);
      expect(ids(place.workers())).toEqual(instances);
    });

    it('share what they did when one of them did not notice yet that another one leads', async () => {
      const old = await begunElsewhere();
      await old.reconcile([wish('general', 1)]);
      await ready(1);
      old.signal('SIGSTOP');
      const driver = await begun();
      await driver.reconcile([wish('general', 1)]);
      old.signal('SIGCONT');
      await old.reconcile([wish('general', 3)]);
      const workers = await ready(3);
      await driver.reconcile([wish('general', 3)]);
      expect(ids((await driver.instances())!)).toEqual(ids(workers));
      await old.stop();
      process.kill(workers[0]!.pid, 'SIGUSR2');
      process.kill(workers[1]!.pid, 'SIGUSR2');
      await exit(1);
      expect(ids((await driver.instances())!)).toEqual([workers[2]!.workerId]);
      expect(place.files()).toEqual(['json', 'log', 'offset'].map((end) => `${workers[2]!.workerId}.${end}`));
    });

    it('see the end of a worker whose parent is stopped and cannot take note of it', async () => {
      const old = await begunElsewhere();
      await old.reconcile([wish('general', 1)]);
      const { workerId, pid } = await readyOne();
      old.signal('SIGSTOP');
      const driver = await begun();
      process.kill(pid, 'SIGKILL');
      expect(await exit()).toMatchObject({ workerId, retiring: false });
      expect(await driver.instances()).toEqual([]);
    });

    it('tell of a worker that ended while nobody led', async () => {
      const owner = await begunElsewhere({ environment: { WORKER_SAYS: 'the last thing I say' } });
      await owner.reconcile([wish('general', 1)]);
      const { workerId, pid } = await readyOne();
      await owner.kill();
      process.kill(pid, 'SIGKILL');
      await until('it is gone', async () => place.workers().length === 0 || null);
      const driver = await begun();
      expect(await driver.instances()).toEqual([]);
      expect(place.warned).toEqual([expect.stringMatching(`${workerId} ended while nobody led`)]);
      expect(place.warned[0]).toContain('the last thing I say');
      expect(place.files()).toEqual([]);
      expect(exits).toEqual([]);
    });
  });

  describe('a state file that names a process of somebody else', () => {
    let stranger: ChildProcess;
    let driver: ProcessDriver;

    beforeEach(async () => {
      driver = await begun();
      stranger = spawn('/bin/sleep', ['60'], { stdio: 'ignore', detached: true });
      strangers.push(stranger);
      await once(stranger, 'spawn');
    });

    const forge = (workerId: string, given: object): void =>
      writeFileSync(
        join(place.folder, `${workerId}.json`),
        JSON.stringify({
          ...processTable().place,
          pid: stranger.pid,
          startTime: '1',
          workerClass: 'general',
          startedAtMs: Date.now() - 1_000,
          retiring: false,
          ...given,
        }),
      );

    async function isLeftAlone(): Promise<void> {
      await driver.reconcile([wish('general', 0, ['general-aaaaaaaa', 'general-bbbbbbbb'])]);
      expect(await driver.instances()).toEqual([]);
      await driver.shutdown(200);
      await pause(100);
      expect([stranger.exitCode, stranger.signalCode]).toEqual([null, null]);
    }

    it('is removed, and the process is not touched: the id was given to it later', async () => {
      forge('general-aaaaaaaa', {});
      forge('general-bbbbbbbb', { retiring: true });
      await isLeftAlone();
      expect(place.files()).toEqual([]);
    });

    it('from before the machine started again', async () => {
      const startTime = processTable().startTimes([stranger.pid!]).get(stranger.pid!)!;
      forge('general-aaaaaaaa', { startTime, boot: 'another boot' });
      await isLeftAlone();
      expect(place.files()).toEqual([]);
    });

    it('of another machine stays: only that one can tell', async () => {
      const startTime = processTable().startTimes([stranger.pid!]).get(stranger.pid!)!;
      forge('general-aaaaaaaa', { startTime, boot: 'another boot', host: 'another-host' });
      await isLeftAlone();
      expect(place.files()).toEqual(['general-aaaaaaaa.json']);
    });

    it.each([
      ['no JSON', '{"pid": 4'],
      ['nothing', ''],
    ])('holds %s', async (_, text) => {
      writeFileSync(join(place.folder, 'general-aaaaaaaa.json'), text);
      forge('general-bbbbbbbb', { pid: -stranger.pid! });
      await isLeftAlone();
    });
  });

  it('finds its folder again after somebody has removed it', async () => {
    const driver = await begun();
    await driver.reconcile([wish('general', 1)]);
    await ready(1);
    rmSync(place.folder, { recursive: true });
    await driver.reconcile([wish('general', 2)]);
    await ready(2);
    expect(await driver.instances()).toHaveLength(2);
    for (const { pid } of place.workers()) process.kill(pid, 'SIGKILL');
    await exit(1);
    expect(place.files()).toEqual([]);
  });

  it('goes on passing on what is written after its log was emptied by hand', async () => {
    const driver = await begun({ environment: { WORKER_SAYS: 'x'.repeat(10_000) } });
    await driver.reconcile([wish('general', 1)]);
    const { workerId, pid } = await readyOne();
    await line('xxx');
    const log = join(place.folder, `${workerId}.log`);
    writeFileSync(log, '');
    await pause(300);
    appendFileSync(log, 'by hand\n');
    await line('by hand');
    process.kill(pid, 'SIGUSR2');
    await exit();
    expect(place.lines.slice(-2)).toEqual([`[${workerId}] by hand`, `[${workerId}] the last flow has ended`]);
  });
});

describe('the worker of this installation', () => {
  let system: System;
  let place: ProcessPlace;
  let owner: WorkerOwner;

  beforeEach(async () => {
    system = await System.start();
    place = new ProcessPlace();
    const environment = { AMQP_URL: system.amqpUrl, HEARTBEAT_INTERVAL_MS: '1000' };
    owner = new WorkerOwner(place.options({ command: [], environment }));
    await owner.start();
  });
  afterEach(async () => {
    await owner.kill();
    await place.end();
    await system.stop();
  });

  it('registers under its class, drains when it is retired, and ends with 0', async () => {
    const sql = { ...wish('sql', 1), workerClass: workerClass('sql', ['delay']) };
    await owner.reconcile([sql]);
    const { workerId } = (await owner.instances())[0]!;
    await system.untilAssignable(workerId);
    const { body } = await system.api.get(`/orchestrator/workers/${workerId}`);
    expect(body).toMatchObject({ workerId, supportedNodeTypes: ['delay'] });
    const executionId = await system.api.submit(delayFlow(1_500));
    await system.api.untilState(executionId, 'running');

    await owner.reconcile([{ ...sql, instances: 0, retire: [workerId] }]);
    // As a supervisor that signals everything it finds would do beside the driver.
    const state = JSON.parse(readFileSync(join(place.folder, `${workerId}.json`), 'utf8')) as { pid: number };
    await until('it drains', async () => owner.lines.some((line) => line.includes('drain')) || null);
    process.kill(state.pid, 'SIGTERM');

    const ended = await until('it has ended', async () => owner.exits[0] ?? null);
    expect(ended).toMatchObject({ workerId, workerClass: 'sql', code: 0, signal: null, retiring: true });
    expect(await system.api.untilEnded(executionId)).toMatchObject({
      state: 'completed',
      attempt: 1,
      workerId,
    });
    expect(owner.lines.every((line) => line.startsWith(`[${workerId}] {`))).toBe(true);
    expect(owner.warned).toEqual([]);
    expect(place.files()).toEqual([]);
  });
});
