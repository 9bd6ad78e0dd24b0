/**
 * graphile-worker on PostgreSQL: jobs added a thousand at a time in one SQL call, two worker processes with a local
 * queue of 500. It deletes a job when it is done and keeps no result, so done means that the jobs are gone.
 */
import { fileURLToPath } from 'node:url';
import { packageVersion } from '../package-version.mjs';
import { payloadBatches } from '../payload.mjs';
import { inParallel, untilCount } from '../waiting.mjs';
import { BATCHES_AT_ONCE, CONCURRENCY, freshName, WORKERS } from './contestant.mjs';

const ROLE = fileURLToPath(new URL('../roles/graphile-worker.mjs', import.meta.url));

/** @type {import('./contestant.mjs').ContestantKind} */
export const graphile = { name: 'graphile-worker', start: startGraphile };

/**
 * @param {import('./contestant.mjs').Surroundings} surroundings
 * @returns {Promise<import('./contestant.mjs').Contestant>}
 */
async function startGraphile({ servers, processes, journal }) {
  const { Logger, makeWorkerUtils } = await import('graphile-worker');
  const postgres = await servers.postgres();
  journal.uses({
    'graphile-worker': packageVersion('graphile-worker'),
    PostgreSQL: await postgres.version(),
  });
  const database = freshName('graphile');
  const connectionString = await postgres.createDatabase(database);
  const logger = new Logger(() => () => {});
  const utils = await makeWorkerUtils({ connectionString, maxPoolSize: BATCHES_AT_ONCE, logger });
  await utils.migrate();
  const workers = [];
  for (let index = 1; index <= WORKERS; index++) {
    const args = [ROLE, connectionString, String(CONCURRENCY)];
    workers.push(await processes.startNode(`graphile-worker ${index}`, args, { readyWhen: /ready/ }));
  }
  const done = (/** @type {number} */ count) =>
    utils.withPgClient(async (client) => {
      const { rows } = await client.query('select count(*)::int as left from graphile_worker._private_jobs');
      return count - rows[0].left;
    });

  return {
    name: graphile.name,
    async runBatch(count) {
      await inParallel(BATCHES_AT_ONCE, payloadBatches(count), (batch) =>
        utils.addJobs(batch.map((item) => ({ identifier: 'task', payload: item }))),
      );
      await untilCount({ what: 'jobs of graphile-worker', read: () => done(count), target: count });
    },
    roots: async () => ({ workers: workers.map(({ pid }) => pid), database: [postgres.pid] }),
    async stop() {
      await Promise.all(workers.map((worker) => worker.stop()));
      await utils.release();
      await postgres.dropDatabase(database);
    },
  };
}
