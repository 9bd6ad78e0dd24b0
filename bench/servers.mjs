/** The servers of a run, each started when a contestant first asks for it, and shared by all contestants after that. */
import { join } from 'node:path';
import { provideBroker } from '../scripts/broker.mjs';
import { providePostgres } from '../scripts/postgres.mjs';
import { startRedis } from './redis.mjs';

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
    const server = await stoppable(providePostgres({ dataDir: join(dir, 'postgres'), log }));
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
  const { default: pg } = await import('pg');
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query('show server_version');
    return rows[0].server_version.split(' ')[0];
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
