/** BullMQ on Redis: two worker processes of concurrency 100, completed jobs kept with their results. */
import { fileURLToPath } from 'node:url';
import { packageVersion } from '../package-version.mjs';
import { payload, payloadBatches } from '../payload.mjs';
import { inParallel, untilCount } from '../waiting.mjs';
import { BATCHES_AT_ONCE, CONCURRENCY, freshName, WORKERS } from './contestant.mjs';

const ROLE = fileURLToPath(new URL('../roles/bullmq-worker.mjs', import.meta.url));

/** @type {import('./contestant.mjs').ContestantKind} */
export const bullmq = {
  name: 'BullMQ',
  start: startBullmq,
};

/**
 * @param {import('./contestant.mjs').Surroundings} surroundings
 * @returns {Promise<import('./contestant.mjs').Contestant>}
 */
async function startBullmq({ servers, processes, journal }) {
  const { FlowProducer, Queue, QueueEvents } = await import('bullmq');
  const redis = await servers.redis();
  journal.uses({
    BullMQ: packageVersion('bullmq'),
    ioredis: packageVersion('ioredis'),
    Redis: redis.version,
  });
  const name = freshName('bullmq');
  const connection = { host: '127.0.0.1', port: redis.port, maxRetriesPerRequest: null };
  const queue = new Queue(name, { connection });
  // Flows have a queue of their own, so that its counts are of flows' nodes alone. The same workers serve both.
  const chains = `${name}_chains`;
  const chainQueue = new Queue(chains, { connection });
  const producer = new FlowProducer({ connection });
  const events = new QueueEvents(name, { connection });
  // Without listeners each lost connection is printed; a Redis that is gone shows in counts that stand still.
  for (const emitter of [queue, chainQueue, producer, events]) emitter.on('error', () => {});
  await Promise.all([queue.waitUntilReady(), chainQueue.waitUntilReady(), events.waitUntilReady()]);
  const workers = [];
  for (let index = 1; index <= WORKERS; index++) {
    const args = [ROLE, String(redis.port), String(CONCURRENCY), name, chains];
    workers.push(await processes.startNode(`BullMQ worker ${index}`, args, { readyWhen: /ready/ }));
  }

  return {
    name: 'BullMQ',
    async runBatch(count) {
      const target = (await queue.getCompletedCount()) + count;
      await inParallel(BATCHES_AT_ONCE, payloadBatches(count), (batch) =>
        queue.addBulk(batch.map((data) => ({ name: 'task', data }))),
      );
      await untilCount({ what: 'jobs of BullMQ', read: () => queue.getCompletedCount(), target });
    },
    async runChains(count) {
      const target = (await chainQueue.getCompletedCount()) + count * 3;
      await inParallel(BATCHES_AT_ONCE, payloadBatches(count), (batch) =>
        producer.addBulk(batch.map((data) => chain(chains, data))),
      );
      await untilCount({ what: 'nodes of BullMQ', read: () => chainQueue.getCompletedCount(), target });
    },
    async requestReply(seq) {
      const job = await queue.add('task', payload(seq));
      return job.waitUntilFinished(events);
    },
    roots: async () => ({ workers: workers.map(({ pid }) => pid), database: [redis.pid] }),
    async stop() {
      await Promise.all(workers.map((worker) => worker.stop()));
      await Promise.all([events.close(), producer.close()]);
      await Promise.all([queue.obliterate({ force: true }), chainQueue.obliterate({ force: true })]);
      await Promise.all([queue.close(), chainQueue.close()]);
    },
  };
}

/**
 * A parent runs after its children: three jobs, each the only child of the next.
 *
 * @param {string} queueName
 * @param {object} data
 */
function chain(queueName, data) {
  const first = { name: 'n1', queueName, data };
  const second = { name: 'n2', queueName, data, children: [first] };
  return { name: 'n3', queueName, data, children: [second] };
}
