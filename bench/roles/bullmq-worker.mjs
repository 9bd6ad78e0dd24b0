/** `node bullmq-worker.mjs <Redis port> <concurrency> <queue …>`: one worker process of BullMQ. */
import { Worker } from 'bullmq';

const [port, concurrency, ...queues] = process.argv.slice(2);
const connection = { host: '127.0.0.1', port: Number(port), maxRetriesPerRequest: null };
const workers = queues.map(
  (queue) => new Worker(queue, async ({ data }) => data, { connection, concurrency: Number(concurrency) }),
);
for (const worker of workers) worker.on('error', () => {});
await Promise.all(workers.map((worker) => worker.waitUntilReady()));
process.once('SIGTERM', async () => {
  await Promise.all(workers.map((worker) => worker.close()));
  process.exit(0);
});
console.log('ready');
