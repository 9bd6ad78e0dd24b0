/** The product as users run it: the built orchestrator and two built workers, reached over HTTP alone. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { CHECKOUT } from '../../scripts/checkout.mjs';
import { NODE_FLAGS } from '../../scripts/node-flags.mjs';
import { freePort, waitUntil } from '../../scripts/processes.mjs';
import { httpPool, postAll, request } from '../http-load.mjs';
import { ownPackageVersion } from '../package-version.mjs';
import { payload, payloadBatches } from '../payload.mjs';
import { inParallel, untilCount } from '../waiting.mjs';
import { BATCHES_AT_ONCE, CONCURRENCY, freshName, WORKERS } from './contestant.mjs';

const READY_TIMEOUT_MS = 120_000;
const WAIT_MS = 60_000;

/**
 * @typedef {'sqlite' | 'postgres'} Store
 *
 * @typedef {object} ProductOptions
 * @property {Store} store
 * @property {string} [name] in the results; default `product, <store>`
 * @property {number} [workers] default 2
 * @property {Record<string, string>} [env] further variables of the orchestrator
 * @property {(role: string) => string[]} [nodeArgs] for `orchestrator`, `worker-1`, …
 * @property {(home: Home) => Promise<void>} [beforeStart] to prepare the record
 *
 * @typedef {object} Home where one installation keeps its things
 * @property {Store} store
 * @property {string} amqpUrl
 * @property {string} dataDir
 * @property {string | undefined} databaseUrl
 *
 * @typedef {import('./contestant.mjs').Contestant & ReturnType<typeof apiOf> & { url: string }} Product
 */

/** @param {Store} store @returns {import('./contestant.mjs').ContestantKind} */
export function product(store) {
  return { name: nameOf(store), start: (surroundings) => startProduct(surroundings, { store }) };
}

/** @param {Store} store */
export const nameOf = (store) => `product, ${store}`;

/**
 * A flow of `nodes` nodes in a chain. `log` below the log level is the cheapest node there is: it passes its input on.
 *
 * @param {object} inputs
 * @param {number} [nodes]
 * @param {object} [rest] further fields of the request
 */
export function flowRequest(inputs, nodes = 1, rest = {}) {
  const ids = Array.from({ length: nodes }, (_, index) => `n${index + 1}`);
  return {
    flowId: 'bench',
    flowData: {
      name: 'Bench',
      version: 1,
      nodes: ids.map((id) => ({ id, type: 'log', config: { level: 'debug' } })),
      connections: ids.slice(1).map((to, index) => ({ from: ids[index], to })),
    },
    inputs,
    ...rest,
  };
}

/**
 * @param {import('./contestant.mjs').Surroundings} surroundings
 * @param {ProductOptions} options
 * @returns {Promise<Product>}
 */
export async function startProduct(surroundings, options) {
  const { store, workers = WORKERS, nodeArgs = () => [] } = options;
  const { home, remove, servers } = await makeHome(surroundings, options);
  const port = await freePort();
  const argsOf = (/** @type {string} */ role) => [
    ...(role === 'orchestrator' ? NODE_FLAGS : []),
    ...nodeArgs(role),
  ];
  const launch = launcher(surroundings.processes, home, argsOf);
  const orchestrator = await launch('orchestrator', ['main.js'], {
    PORT: String(port),
    DATA_DIR: home.dataDir,
    DATABASE_URL: home.databaseUrl,
    WORKER_DRIVER: 'none',
    // All share the machine here, so its load says nothing about a worker.
    WORKER_LOAD_LIMIT_PERCENT: '100',
    BACKLOG_LIMIT: '100000000',
    ...options.env,
  });
  const url = `http://127.0.0.1:${port}`;
  const api = apiOf(httpPool(url));
  const isReady = async () => (await api.status('/health/ready')) === 200;
  await until('the orchestrator is ready', isReady, orchestrator);

  const startWorker = async (/** @type {string} */ id) => {
    const child = await launch(id, ['worker.main.js', '--id', id], {
      WORKER_MAX_CONCURRENT_FLOWS: String(CONCURRENCY),
      WORKER_MAX_CONCURRENT_NODES: String(CONCURRENCY),
      WORKER_DRAIN_DEADLINE_MS: '2000',
    });
    const isAssignable = async () => (await api.get(`/orchestrator/workers/${id}`)).assignable === true;
    await until(`${id} takes tasks`, isAssignable, child);
    return child;
  };
  const ids = Array.from({ length: workers }, (_, index) => `worker-${index + 1}`);
  const running = await Promise.all(ids.map(startWorker));
  return {
    name: options.name ?? nameOf(store),
    url,
    ...api,
    ...loads(api),
    roots: async () => ({
      orchestrator: [orchestrator.pid],
      workers: running.map(({ pid }) => pid),
      ...servers,
    }),
    async stop() {
      await Promise.all(running.map((child) => child.stop()));
      await api.close();
      await orchestrator.stop();
      await remove();
    },
  };
}

/**
 * A vhost, a folder and (with PostgreSQL) a database of its own.
 *
 * @param {import('./contestant.mjs').Surroundings} surroundings
 * @param {ProductOptions} options
 */
async function makeHome({ servers, dir, journal }, { store, beforeStart }) {
  const broker = await servers.broker();
  const postgres = store === 'postgres' ? await servers.postgres() : undefined;
  journal.uses({ RabbitMQ: (await broker.ctl(['version'])).trim() });
  if (postgres) journal.uses({ PostgreSQL: await postgres.version() });
  else journal.uses({ libsql: ownPackageVersion('libsql') });
  const name = freshName(`product_${store}`);
  /** @type {Home} */
  const home = {
    store,
    amqpUrl: await broker.createVhost(name),
    dataDir: join(dir, name),
    databaseUrl: await postgres?.createDatabase(name),
  };
  mkdirSync(home.dataDir, { recursive: true });
  await beforeStart?.(home);
  return {
    home,
    servers: { broker: [broker.pid], ...(postgres && { database: [postgres.pid] }) },
    async remove() {
      await broker.deleteVhost(name);
      await postgres?.dropDatabase(name);
    },
  };
}

/**
 * @param {import('../processes.mjs').Processes} processes
 * @param {Home} home
 * @param {(role: string) => string[]} nodeArgs
 */
function launcher(processes, { amqpUrl, dataDir }, nodeArgs) {
  return (
    /** @type {string} */ role,
    /** @type {[string, ...string[]]} */ [file, ...args],
    /** @type {Record<string, string | undefined>} */ env,
  ) =>
    // Not in the checkout's folder: a .env there would be read.
    processes.startNode(role, [...nodeArgs(role), join(CHECKOUT, 'dist', file), ...args], {
      cwd: dataDir,
      env: { AMQP_URL: amqpUrl, LOG_LEVEL: 'warn', LOG_FORMAT: 'json', ...env },
    });
}

/** @param {import('undici').Pool} pool */
function apiOf(pool) {
  const ask = async (
    /** @type {'GET' | 'POST'} */ method,
    /** @type {string} */ path,
    /** @type {object | undefined} */ body = undefined,
    over = pool,
  ) => {
    const answer = await request(over, method, path, body);
    if (answer.status !== 200) {
      throw new Error(`Expected 200 of ${method} ${path}, got ${answer.status}: ${answer.text}`);
    }
    return answer.text;
  };
  return {
    pool,
    close: () => pool.close(),
    status: async (/** @type {string} */ path) => (await request(pool, 'GET', path)).status,
    get: async (/** @type {string} */ path) => JSON.parse(await ask('GET', path)),
    /** Runs one flow and waits for its end. */
    runFlow: async (/** @type {object} */ flow, over = pool) =>
      JSON.parse(await ask('POST', `/orchestrator/execute?waitMs=${WAIT_MS}`, flow, over)),
    /** Gives back the execution ids. */
    async submitBatch(/** @type {object[]} */ items) {
      const answers = JSON.parse(await ask('POST', '/orchestrator/execute/batch', { items })).items;
      const refused = answers.find((/** @type {{ status: number }} */ { status }) => status !== 202);
      if (refused)
        throw new Error(`Expected each item of a batch to be accepted: ${JSON.stringify(refused)}`);
      return answers.map((/** @type {{ executionId: string }} */ { executionId }) => executionId);
    },
    /** Executions that ended since the start; rejects if one ended badly. */
    async completed() {
      const text = await ask('GET', '/metrics');
      const ends = [...text.matchAll(/^flow_executions_finished_total\{state="(\w+)"\} (\d+)/gm)];
      const other = ends.find(([, state]) => state !== 'completed');
      if (other) throw new Error(`Expected every execution to complete; ${other[2]} ended as ${other[1]}.`);
      return Number(ends[0]?.[2] ?? 0);
    },
  };
}

/** @param {ReturnType<typeof apiOf>} api */
function loads(api) {
  const waitFor = (/** @type {number} */ target) =>
    untilCount({ what: 'executions', read: api.completed, target });
  const runAll = async (/** @type {number} */ count, /** @type {number} */ nodes) => {
    const target = (await api.completed()) + count;
    await inParallel(BATCHES_AT_ONCE, payloadBatches(count), (batch) =>
      api.submitBatch(batch.map((inputs) => flowRequest(inputs, nodes))),
    );
    await waitFor(target);
  };
  return {
    runBatch: (/** @type {number} */ count) => runAll(count, 1),
    runChains: (/** @type {number} */ count) => runAll(count, 3),
    requestReply: async (/** @type {number} */ seq) => (await api.runFlow(flowRequest(payload(seq)))).result,
    async runSingles(/** @type {number} */ count, /** @type {number} */ connections) {
      const startedAt = performance.now();
      const target = (await api.completed()) + count;
      const bodyOf = (/** @type {number} */ seq) => flowRequest(payload(seq));
      await postAll({ pool: api.pool, path: '/orchestrator/execute', count, connections, bodyOf });
      const acceptedMs = performance.now() - startedAt;
      await waitFor(target);
      return { acceptedMs, drainedMs: performance.now() - startedAt };
    },
  };
}

/**
 * @param {string} what
 * @param {() => Promise<boolean>} isSo
 * @param {import('../processes.mjs').Child} child
 */
async function until(what, isSo, child) {
  if (await waitUntil(() => isSo().catch(() => false), { timeoutMs: READY_TIMEOUT_MS })) return;
  throw new Error(`Expected that ${what} within ${READY_TIMEOUT_MS / 1000} s; it said:\n${child.output()}`);
}
