/** The servers of a run, each started when a contestant first asks for it, and shared by all contestants after that. */
import { join } from 'node:path';
import { provideBroker } from '../scripts/broker.mjs';
import { providePostgres } from '../scripts/postgres.mjs';
import { reserveHugePages } from './huge-pages.mjs';
import { startRedis } from './redis.mjs';

/**
 * PostgreSQL's cache. Its makers recommend a quarter of the memory where it has the machine to itself. With less than
 * what is under way, its sessions write and read the same pages again and again, which doubles what they cost.
 */
const CACHE_MIB = 1_024;
const PAGES_PER_MIB = 128;
/** The cache, and what PostgreSQL has beside it in the memory that its sessions share. */
const SHARED_MIB = CACHE_MIB * 1.15;

/**
 * @typedef {object} Servers
 * @property {() => Promise<import('../scripts/broker.mjs').PrivateBroker>} broker
 * @property {() => Promise<import('../scripts/postgres.mjs').PrivatePostgres & { version(): Promise<string> }>} postgres
 * @property {() => Promise<import('./redis.mjs').Redis>} redis
 * @property {() => Promise<void>} stop
 *
 * @param {object} options
 * @param {string} options.dir
 * @param {import('./processes.mjs').Processes} options.processes
 * @param {(message: string) => void} options.log
 * @param {boolean} options.inUse as servers are that have run for a while; if not, they start sooner
 * @returns {Servers}
 */
export function createServers({ dir, processes, log, inUse }) {
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
    const hugePages = reserveHugePages(SHARED_MIB);
    stops.push(async () => hugePages.giveBack());
    const server = await stoppable(
      providePostgres({ dataDir: join(dir, 'postgres'), log, sharedBuffers: `${CACHE_MIB}MB` }),
    );
    if (inUse) await use(server.url);
    const memory = hugePages.inUse() ? 'cache in huge pages' : 'no huge pages';
    return Object.assign(server, {
      version: once(async () => `${await serverVersion(server.url)} (${memory})`),
    });
  });
  const redis = once(() => startRedis({ dataDir: join(dir, 'redis'), processes, log, inUse }));
  return /** @type {Servers} */ ({
    broker,
    postgres,
    redis,
    async stop() {
      const failures = [];
      for (let stop = stops.pop(); stop; stop = stops.pop())
        await stop().catch((error) => failures.push(error));
      if (failures.length > 0) throw failures[0];
    },
  });
}

/** @param {string} url */
async function serverVersion(url) {
  const { rows } = await withClient(url, (client) => client.query('show server_version'));
  return rows[0].server_version.split(' ')[0];
}

/**
 * A server that has been in use has its memory, and writes into old segments of its log. One that was made a moment ago
 * asks the machine for each page of its cache, and fills each segment with zeros first. Writes as much as the cache has
 * room for, which takes about ten seconds.
 *
 * @param {string} url
 */
async function use(url) {
  await withClient(url, async (client) => {
    await client.query('create table used (page text)');
    await client.query('alter table used alter column page set storage plain');
    // Not a copy of a table, which would go through a small part of the cache only.
    const pages = CACHE_MIB * PAGES_PER_MIB;
    await client.query(`insert into used select repeat('x', 8000) from generate_series(1, ${pages})`);
    await client.query('drop table used');
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
