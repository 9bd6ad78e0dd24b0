/** The servers of a run, each started when a contestant first asks for it, and shared by all contestants after that. */
import { join } from 'node:path';
import { provideBroker } from '../scripts/broker.mjs';
import { providePostgres } from '../scripts/postgres.mjs';
import { startRedis } from './redis.mjs';

/**
 * PostgreSQL's cache. Its makers recommend a quarter of the memory where it has the machine to itself. With less than
 * what is under way, its sessions write and read the same pages again and again, which doubles what they cost.
 */
const SHARED_BUFFERS = '1GB';
/** Of 16 MB; about half of them are kept for what comes. */
const USED_SEGMENTS = 60;

/**
 * @typedef {object} Servers
 * @property {() => Promise<import('../scripts/broker.mjs').PrivateBroker>} broker
 * @property {() => Promise<import('../scripts/postgres.mjs').PrivatePostgres & { version(): Promise<string> }>} postgres
 * @property {() => Promise<import('./redis.mjs').Redis>} redis
 * @property {() => Promise<void>} stop
 *
 * @param {{ dir: string, processes: import('./processes.mjs').Processes, log: (message: string) => void }} options
 * @returns {Servers}
 */
export function createServers({ dir, processes, log }) {
  // Both are measured together with what they carry, so servers that others use as well will not do.
  delete process.env.AMQP_URL;
  delete process.env.TEST_DATABASE_URL;
  /** @type {(() => Promise<void>)[]} */
  const stops = [];
  const stoppable = async (/** @type {Promise<{ stop(): Promise<void> }>} */ starting) => {
    const server = await starting;
    stops.push(() => server.stop());
    return server;
  };
  const broker = once(() => stoppable(provideBroker({ dataDir: join(dir, 'broker'), log })));
  const postgres = once(async () => {
    const server = await stoppable(
      providePostgres({ dataDir: join(dir, 'postgres'), log, sharedBuffers: SHARED_BUFFERS }),
    );
    await writeAheadLogInUse(server.url);
    return Object.assign(server, { version: once(() => serverVersion(server.url)) });
  });
  const redis = once(() => startRedis({ dataDir: join(dir, 'redis'), processes, log }));
  return /** @type {Servers} */ ({
    broker,
    postgres,
    redis,
    async stop() {
      for (let stop = stops.pop(); stop; stop = stops.pop()) await stop();
    },
  });
}

/** @param {string} url */
async function serverVersion(url) {
  const { rows } = await withClient(url, (client) => client.query('show server_version'));
  return rows[0].server_version.split(' ')[0];
}

/**
 * A server that has been in use writes into old segments of its log; one that was made a moment ago fills each with
 * zeros first, which is as much again as what it has to write.
 *
 * @param {string} url
 */
async function writeAheadLogInUse(url) {
  await withClient(url, async (client) => {
    for (let segment = 0; segment < USED_SEGMENTS; segment++) {
      // Nothing is switched without a record in between, which an assigned transaction id leaves.
      await client.query('select txid_current()');
      await client.query('select pg_switch_wal()');
    }
    await client.query('checkpoint');
  });
}

/**
 * @template T
 * @param {string} url
 * @param {(client: import('pg').Client) => Promise<T>} use
 */
async function withClient(url, use) {
  const { default: pg } = await import('pg');
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

/**
 * @template T
 * @param {() => Promise<T>} make
 * @returns {() => Promise<T>}
 */
function once(make) {
  /** @type {Promise<T> | undefined} */
  let made;
  return () => (made ??= make());
}
