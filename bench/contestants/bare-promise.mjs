/**
 * What the product's promise alone costs, with nothing of the product around it: each flow is on disk before it is
 * accepted, a worker process runs it by way of quorum queues with confirms, and its end is on disk before it counts.
 * Fastify, amqplib and SQLite, put together as cheaply as we could: nothing is checked, no graph is run (a chain's
 * result is its inputs, whatever its length), no worker is chosen, nothing but the row by its id can be asked for.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../scripts/processes.mjs';
import { httpPool, postAll, request } from '../http-load.mjs';
import { ownPackageVersion } from '../package-version.mjs';
import { payload, payloadBatches } from '../payload.mjs';
import { inParallel, untilCount } from '../waiting.mjs';
import { BATCHES_AT_ONCE, freshName, WORKERS } from './contestant.mjs';
import { flowRequest } from './product.mjs';

const roleFile = (/** @type {string} */ name) => fileURLToPath(new URL(`../roles/${name}`, import.meta.url));
const SERVER = roleFile('promise-server.mjs');
const WORKER = roleFile('promise-worker.mjs');
const RESULTS = 'results';

/** @type {import('./contestant.mjs').ContestantKind} */
export const barePromise = { name: 'bare promise', start: startPromise };

/**
 * @param {import('./contestant.mjs').Surroundings} surroundings
 * @returns {Promise<import('./contestant.mjs').Contestant>}
 */
async function startPromise({ servers, processes, dir, journal }) {
  const broker = await servers.broker();
  journal.uses({ RabbitMQ: (await broker.ctl(['version'])).trim() });
  for (const name of ['amqplib', 'libsql']) journal.uses({ [name]: ownPackageVersion(name) });
  journal.uses({ Fastify: ownPackageVersion('fastify') });
  const name = freshName('promise');
  const url = await broker.createVhost(name);
  const port = await freePort();
  mkdirSync(join(dir, name));
  const queues = Array.from({ length: WORKERS }, (_, index) => `worker.${index + 1}`);
  const readyWhen = /ready/;
  const serverArgs = [SERVER, url, String(port), join(dir, name, 'record.db'), RESULTS, ...queues];
  const server = await processes.startNode('promise server', serverArgs, { readyWhen });
  const workers = await Promise.all(
    queues.map((queue) =>
      processes.startNode(`promise ${queue}`, [WORKER, url, queue, RESULTS], { readyWhen }),
    ),
  );
  const pool = httpPool(`http://127.0.0.1:${port}`);
  return {
    name: barePromise.name,
    ...loads(pool),
    roots: async () => ({
      orchestrator: [server.pid],
      workers: workers.map(({ pid }) => pid),
      broker: [broker.pid],
    }),
    async stop() {
      await Promise.all(workers.map((worker) => worker.stop()));
      await pool.close();
      await server.stop();
      await broker.deleteVhost(name);
    },
  };
}

/** @param {import('undici').Pool} pool */
function loads(pool) {
  const ask = async (
    /** @type {'GET' | 'POST'} */ method,
    /** @type {string} */ path,
    /** @type {object | undefined} */ body = undefined,
  ) => {
    const { status, text } = await request(pool, method, path, body);
    if (status !== 200) throw new Error(`Expected 200 of ${method} ${path}, got ${status}: ${text}`);
    return JSON.parse(text);
  };
  const ended = async () => (await ask('GET', '/count')).ended;
  const waitFor = (/** @type {number} */ target) =>
    untilCount({ what: 'ends of bare promise', read: ended, target });
  const runAll = async (/** @type {number} */ count, /** @type {number} */ nodes) => {
    const target = (await ended()) + count;
    await inParallel(BATCHES_AT_ONCE, payloadBatches(count), (batch) =>
      ask('POST', '/batch', { items: batch.map((inputs) => flowRequest(inputs, nodes)) }),
    );
    await waitFor(target);
  };
  // The same bodies as the product gets.
  const bodyOf = (/** @type {number} */ seq) => flowRequest(payload(seq));
  return {
    runBatch: (/** @type {number} */ count) => runAll(count, 1),
    runChains: (/** @type {number} */ count) => runAll(count, 3),
    requestReply: (/** @type {number} */ seq) => ask('POST', '/?wait=1', bodyOf(seq)),
    async runSingles(/** @type {number} */ count, /** @type {number} */ connections) {
      const startedAt = performance.now();
      const target = (await ended()) + count;
      await postAll({ pool, path: '/', count, connections, bodyOf });
      const acceptedMs = performance.now() - startedAt;
      await waitFor(target);
      return { acceptedMs, drainedMs: performance.now() - startedAt };
    },
  };
}
