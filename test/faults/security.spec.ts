import { chownSync, copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { type Channel, connect } from 'amqplib';
import pg from 'pg';
import { startPostgres } from '../../scripts/postgres.mjs';
import { freePort } from '../../scripts/processes.mjs';
import { type Answer, delayFlow, flow } from '../support/api-client.js';
import { Authority } from '../support/certificates.js';
import { type Part, type Postgres, System } from '../support/system.js';

let folder: string;
let system: System | undefined;
const extra: Part[] = [];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'flow-security-'));
});
afterEach(async () => {
  await Promise.all(extra.splice(0).map((part) => part.stop()));
  await system?.stop();
  system = undefined;
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Starts an orchestrator beside the others, with output that can be read. */
function spawn(env: Record<string, string>): Part {
  const part = system!.spawnOrchestrator({ DATABASE_URL: '', ...env });
  extra.push(part);
  return part;
}

const says = (part: Part, words: RegExp): Promise<void> =>
  system!.until(`${part.name} says ${words.source}`, () => Promise.resolve(words.test(part.output)));

describe('TLS', () => {
  it('to the broker: encrypted with a certificate on both sides; other authorities and names are refused', async () => {
    const authority = new Authority(join(folder, 'amqp'));
    const other = new Authority(join(folder, 'other'));
    const server = authority.sign('broker', 'IP:127.0.0.1');
    const client = authority.sign('client', 'DNS:client');
    const port = await freePort();
    const AMQP_URL = `amqps://guest:guest@127.0.0.1:${port}`;
    const secure = {
      AMQP_URL,
      AMQP_CA_FILE: authority.caFile,
      AMQP_CERT_FILE: client.certFile,
      AMQP_KEY_FILE: client.keyFile,
    };
    system = await System.start({
      ownBroker: {
        config: `
listeners.ssl.1 = 127.0.0.1:${port}
ssl_options.cacertfile = ${authority.caFile}
ssl_options.certfile = ${server.certFile}
ssl_options.keyfile = ${server.keyFile}
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
`,
      },
      env: secure,
      workers: ['worker-1'],
      workerEnv: secure,
    });
    const { body } = await system.api.execute(delayFlow(1), '?waitMs=20000');
    expect(body.state).toBe('completed');
    const listed = await system.broker.ctl(['list_connections', '-q', '--no-table-headers', 'ssl']);
    expect(listed.trim().split(/\s+/)).toEqual(Array.from({ length: 6 }, () => 'true'));

    const DATA_DIR = join(folder, 'spare');
    const wrongCa = { ...secure, DATA_DIR, AMQP_CA_FILE: other.caFile };
    await says(spawn(wrongCa), /the broker's certificate is not trusted: .*; AMQP_CA_FILE has to hold/);
    await says(system.launchWorker('worker-2', wrongCa), /the broker's certificate is not trusted/);
    const systemCas = { ...secure, DATA_DIR: join(folder, 'spare-2'), AMQP_CA_FILE: '' };
    await says(spawn(systemCas), /the broker's certificate is not trusted/);
    const otherName = AMQP_URL.replace('127.0.0.1', 'localhost');
    await says(
      spawn({ ...secure, DATA_DIR: join(folder, 'spare-3'), AMQP_URL: otherName }),
      /the broker's certificate is for another host/,
    );
    const nameless = { ...secure, DATA_DIR: join(folder, 'spare-4'), AMQP_CERT_FILE: '', AMQP_KEY_FILE: '' };
    await says(spawn(nameless), /no connection to the broker \(.*certificate required/i);
  });

  it('to PostgreSQL: sslmode=verify-full with a CA; another authority is refused at once', async () => {
    system = await System.start({ orchestrators: 0 });
    const authority = new Authority(join(folder, 'postgres'));
    const { certFile, keyFile } = authority.sign('postgres', 'IP:127.0.0.1');
    const postgres = await startPostgres({ dataDir: join(folder, 'cluster'), log: () => undefined });
    try {
      await serveTls(postgres, { certFile, keyFile });
      const url = (caFile: string): string =>
        `${postgres.url}?sslmode=verify-full&sslrootcert=${encodeURIComponent(caFile)}`;
      await system.startOrchestrator({ DATABASE_URL: url(authority.caFile) });
      const { rows } = await query(
        postgres.url,
        `select ssl from pg_stat_ssl join pg_stat_activity using (pid) where application_name = 'flow-orchestrator'`,
      );
      expect(rows.length).toBeGreaterThan(0);
      expect(rows.every(({ ssl }) => ssl)).toBe(true);

      const other = new Authority(join(folder, 'other-postgres'));
      const refused = spawn({ DATABASE_URL: url(other.caFile) });
      expect(await refused.exited).toBe(1);
      expect(refused.output).toMatch(/certificate/);
      const misnamed = spawn({ DATABASE_URL: url(authority.caFile).replace('127.0.0.1', 'localhost') });
      expect(await misnamed.exited).toBe(1);
      expect(misnamed.output).toMatch(/does not match certificate's altnames/);
    } finally {
      await system.stop();
      system = undefined;
      await postgres.stop();
    }
  });
});

async function serveTls(postgres: Postgres, files: { certFile: string; keyFile: string }): Promise<void> {
  const { rows } = await query(postgres.url, 'show data_directory');
  const directory = String(rows[0]!.data_directory);
  const { uid, gid } = statSync(directory);
  for (const [name, path] of Object.entries(files)) {
    const copy = join(directory, `${name}.pem`);
    copyFileSync(path, copy);
    chownSync(copy, uid, gid);
  }
  await query(postgres.url, `alter system set ssl_cert_file = 'certFile.pem'`);
  await query(postgres.url, `alter system set ssl_key_file = 'keyFile.pem'`);
  await query(postgres.url, 'alter system set ssl = on');
  await postgres.restart();
}

async function query(url: string, text: string): Promise<pg.QueryResult> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await client.query(text);
  } finally {
    await client.end();
  }
}

describe('least privilege', () => {
  it('orchestrator and worker work with the rights of docs/rabbitmq.md, and a worker may do nothing else', async () => {
    system = await System.start({ orchestrators: 0 });
    const { broker, vhost } = system;
    const [owner, user] = [`owner-${vhost}`, `limited-${vhost}`];
    const owned = ['^(flow\\.|amq\\.gen-)', '^(flow\\.|amq\\.gen-|amq\\.default$)', '^(flow\\.|amq\\.gen-)'];
    const ownerUrl = await addUser(system, owner, owned);
    const rights = ['^$', '^(flow\\.results|flow\\.workers)$', '^flow\\.worker\\.worker-1$'];
    const userUrl = await addUser(system, user, rights);
    await system.startOrchestrator({ AMQP_URL: ownerUrl });
    await Promise.all([
      system.startWorker('worker-1', { AMQP_URL: userUrl }),
      system.startWorker('worker-2', { AMQP_URL: ownerUrl }),
    ]);
    const connection = await connect(userUrl);
    try {
      const onlyFirst = { ...delayFlow(20), labels: { from: 'limited' } };
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => system!.api.execute(onlyFirst, '?waitMs=20000')),
      );
      expect(answers.map(({ body }) => body.state)).toEqual(answers.map(() => 'completed'));
      const workers = new Set(answers.map(({ body }) => body.workerId));
      expect(workers).toEqual(new Set(['worker-1', 'worker-2']));
      // The orchestrator's way to it is the default exchange: cancel and drain arrive.
      const long = await system.api.submit(delayFlow(60_000));
      await system.api.untilState(long, 'running');
      await system.api.post(`/orchestrator/executions/${long}/cancel`);
      await system.api.untilState(long, 'cancelled');

      const publish = (exchange: string, key: string) => async (channel: Channel) => {
        channel.publish(exchange, key, Buffer.from('{}'));
        await channel.checkExchange('amq.direct');
      };
      const forbidden: Record<string, (channel: Channel) => Promise<unknown>> = {
        'declare a queue': (channel) => channel.assertQueue('flow.worker.mine'),
        'declare an exchange': (channel) => channel.assertExchange('flow.mine', 'fanout'),
        'delete its own queue': (channel) => channel.deleteQueue('flow.worker.worker-1'),
        'bind its own queue': (channel) => channel.bindQueue('flow.worker.worker-1', 'flow.ready', 'high'),
        'publish to flow.ready': publish('flow.ready', 'high'),
        'publish to flow.assign': publish('flow.assign', 'worker-2'),
        'publish to flow.control': publish('flow.control', ''),
        'publish to the default exchange': publish('', 'flow.worker.worker-2'),
        "read another worker's queue": (channel) => channel.get('flow.worker.worker-2'),
        "consume another worker's queue": (channel) =>
          channel.consume('flow.worker.worker-2', () => undefined),
        'read results': (channel) => channel.get('flow.results'),
        'read a ready queue': (channel) => channel.get('flow.ready.normal'),
        'read dead letters': (channel) => channel.get('flow.dlq'),
      };
      for (const [what, attempt] of Object.entries(forbidden)) {
        const channel = await connection.createChannel();
        const closed = new Promise((resolve) => channel.once('error', resolve));
        const outcome = await attempt(channel).then(
          () => 'allowed',
          () => closed.then(String),
        );
        expect([what, outcome]).toEqual([what, expect.stringContaining('ACCESS_REFUSED')]);
      }
    } finally {
      await connection.close();
      await Promise.all([...system.workers.values(), ...system.orchestrators].map((part) => part.stop()));
      for (const name of [owner, user]) await broker.ctl(['delete_user', name]);
    }
  });
});

/** @param rights configure, write, read */
async function addUser({ broker, vhost, amqpUrl }: System, name: string, rights: string[]): Promise<string> {
  await broker.ctl(['add_user', name, 'limited-password']);
  await broker.ctl(['set_permissions', '-p', vhost, name, ...rights]);
  const url = new URL(amqpUrl);
  url.username = name;
  url.password = 'limited-password';
  return url.href;
}

describe('the start', () => {
  it('without authentication, on another address than loopback, is refused with 78', async () => {
    system = await System.start({ orchestrators: 0 });
    const open = spawn({ HOST: '0.0.0.0' });
    expect(await open.exited).toBe(78);
    expect(open.output).toMatch(
      /HOST: expected a loopback address .*set API_KEYS, JWT_SECRET or JWT_JWKS_URL/,
    );
    await system.startOrchestrator();
    expect(system.orchestrators[0]!.output).toContain('without authentication');
    const guarded = await system.startOrchestrator({
      HOST: '0.0.0.0',
      API_KEYS: 'probe:read:a-key-of-16-characters',
      DATA_DIR: join(folder, 'guarded'),
    });
    expect(guarded.output).not.toContain('without authentication');
  });
});

describe('secrets', () => {
  const SECRETS = {
    amqp: 'broker-s3cret/%?',
    database: 'database-s3cret#1',
    connection: 'connection-s3cret@2',
    key: 'api-key-s3cret-0123456789',
    jwt: 'jwt-s3cret-0123456789-0123456789-0123456789',
  };
  const FORMS = Object.values(SECRETS).flatMap((secret) => [
    secret,
    encodeURIComponent(secret),
    JSON.stringify(secret).slice(1, -1),
    Buffer.from(secret).toString('base64'),
  ]);
  const leaks = (text: string): string[] => FORMS.filter((form) => text.includes(form));

  it('are in no line of a log and in no answer, whatever fails', async () => {
    system = await System.start({ orchestrators: 0, store: 'postgres', ownPostgres: true });
    const { broker, vhost, amqpUrl, databaseUrl } = system;
    const user = `secret-${vhost}`;
    await broker.ctl(['add_user', user, SECRETS.amqp]);
    await broker.ctl(['set_permissions', '-p', vhost, user, '.*', '.*', '.*']);
    await lockRole(databaseUrl, SECRETS.database);
    const withUser = (text: string, name: string, password: string): string => {
      const url = new URL(text);
      url.username = name;
      url.password = encodeURIComponent(password);
      return url.href;
    };
    const AMQP_URL = withUser(amqpUrl, user, SECRETS.amqp);
    const closed = withUser(databaseUrl, 'locked', SECRETS.connection);
    const nowhere = `postgres://locked:${encodeURIComponent(SECRETS.connection)}@127.0.0.1:1/none`;
    const env = {
      AMQP_URL,
      DATABASE_URL: withUser(databaseUrl, 'locked', SECRETS.database),
      API_KEYS: `test:read+execute+operate:${SECRETS.key}`,
      JWT_SECRET: SECRETS.jwt,
      LOG_LEVEL: 'trace',
    };
    const workerEnv = {
      AMQP_URL,
      FLOW_CONNECTION_LOCKED: closed,
      FLOW_CONNECTION_NOWHERE: nowhere,
      FLOW_CONNECTION_MONGO: nowhere.replace('postgres', 'mongodb'),
      LOG_LEVEL: 'trace',
    };
    const answers: Answer[] = [];
    try {
      await system.startOrchestrator(env);
      const { api } = system;
      const headers = { authorization: `Bearer ${SECRETS.key}` };
      const get = async (path: string): Promise<Answer> => {
        const answer = await api.get(path, headers);
        answers.push(answer);
        return answer;
      };
      system.launchWorker('worker-1', workerEnv);
      await system.until(
        'the worker takes tasks',
        async () => (await api.get('/orchestrator/workers/worker-1', headers)).body.assignable === true,
      );
      // A flow whose connection has a wrong password, one that nobody answers, and one of the wrong kind.
      for (const connection of ['locked', 'nowhere', 'mongo', 'none']) {
        const sql = { id: 'sql', type: 'postgresql-query', config: { connection, query: 'select 1' } };
        const message = flow([sql], { retry: { maxAttempts: 1 } });
        answers.push(await api.post('/orchestrator/execute?waitMs=30000', message, headers));
        expect(['failed', 'dead']).toContain(answers.at(-1)!.body.state);
      }
      // Credentials in the wrong place, and wrong ones.
      answers.push(await api.get('/orchestrator/executions', { authorization: `Basic ${SECRETS.key}` }));
      answers.push(await api.get('/orchestrator/executions', { authorization: `Bearer a.${SECRETS.key}.c` }));
      await get('/orchestrator/executions?limit=20');
      await get('/orchestrator/dead-letters');
      await get('/metrics');
      await get('/docs-json');

      // The database takes no password any more, then the broker takes none.
      await query(databaseUrl, `alter role locked nologin`);
      await query(
        databaseUrl,
        `select pg_terminate_backend(pid) from pg_stat_activity where usename = 'locked'`,
      );
      await get('/orchestrator/executions');
      await get('/orchestrator/health');
      await broker.ctl(['change_password', user, 'another']);
      await broker.ctl(['close_all_user_connections', user, 'test']);
      await says(system.workers.get('worker-1')!, /no connection to the broker/);
      await get('/orchestrator/health');
      await get('/health/ready');
      await get('/metrics');

      // Starts that fail: broker unreachable, wrong password, bad values that hold secrets.
      const starts = [
        spawn({ ...env, AMQP_URL: `amqp://u:${encodeURIComponent(SECRETS.amqp)}@127.0.0.1:1` }),
        spawn(env),
        spawn({ ...env, DATABASE_URL: `postgres://u:${SECRETS.database}@[bad/db` }),
        spawn({ ...env, DATABASE_URL: `http://u:${SECRETS.database}@host/db`, API_KEYS: SECRETS.key }),
        spawn({ ...env, AMQP_URL: `amqp://u:${SECRETS.amqp}@host`, JWT_SECRET: SECRETS.jwt.slice(0, 24) }),
        system.launchWorker('worker-2', { ...workerEnv, FLOW_CONNECTION_BAD: SECRETS.connection }),
      ];
      await system.until('they have said what is wrong', () =>
        Promise.resolve(starts.every(({ output }) => output.length > 0)),
      );
      await new Promise((next) => setTimeout(next, 1_500));
      const outputs = [...system.orchestrators, ...system.workers.values(), ...starts].map(
        (part) => part.output,
      );
      expect(outputs.flatMap(leaks)).toEqual([]);
      const told = answers.map(({ headers: answered, body }) => JSON.stringify([[...answered], body]));
      expect(told.flatMap(leaks)).toEqual([]);
      expect(outputs.join('')).toMatch(/expected|no connection/);
    } finally {
      await broker.ctl(['delete_user', user]);
    }
  });
});

/** A role that has to show a password, on a cluster that otherwise trusts everyone of this machine. */
async function lockRole(url: string, password: string): Promise<void> {
  await query(url, `create role locked login superuser password '${password}'`);
  const { rows } = await query(url, 'show hba_file');
  const file = String(rows[0]!.hba_file);
  const { uid, gid } = statSync(file);
  writeFileSync(file, `host all locked 127.0.0.1/32 scram-sha-256\n${readFileSync(file, 'utf8')}`);
  chownSync(file, uid, gid);
  await query(url, 'select pg_reload_conf()');
}
