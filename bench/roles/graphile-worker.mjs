/** `node graphile-worker.mjs <database URL> <concurrency>`: one worker process of graphile-worker, tuned for throughput. */
import { Logger, run } from 'graphile-worker';

const LOCAL_QUEUE = 500;
const [connectionString, concurrency] = process.argv.slice(2);
const runner = await run({
  taskList: { task: async (payload) => void payload },
  logger: new Logger(() => () => {}),
  noHandleSignals: true,
  preset: {
    worker: {
      connectionString,
      concurrentJobs: Number(concurrency),
      maxPoolSize: 10,
      localQueue: { size: LOCAL_QUEUE },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    },
  },
});
process.once('SIGTERM', async () => {
  await runner.stop();
  process.exit(0);
});
console.log('ready');
