/**
 * What amqplib and RabbitMQ alone cost for the hops of the product's fast path: a task is published to the worker's
 * quorum queue and confirmed, the worker consumes it and publishes the result, confirmed, and acks; the result is
 * consumed and acked. No record, no HTTP, no check of anything.
 */
import { fileURLToPath } from 'node:url';
import amqp from 'amqplib';
import { ownPackageVersion } from '../package-version.mjs';
import { payload, payloadBatches } from '../payload.mjs';
import { untilCount } from '../waiting.mjs';
import { freshName, WORKERS } from './contestant.mjs';

const ROLE = fileURLToPath(new URL('../roles/floor-worker.mjs', import.meta.url));
const WINDOW = 1_000;
const QUORUM = { durable: true, arguments: { 'x-queue-type': 'quorum' } };

/** @type {import('./contestant.mjs').ContestantKind} */
export const fastPathFloor = {
  name: 'bare amqplib',
  start: startFloor,
};

/**
 * @param {import('./contestant.mjs').Surroundings} surroundings
 * @returns {Promise<import('./contestant.mjs').Contestant>}
 */
async function startFloor({ servers, processes, journal }) {
  const broker = await servers.broker();
  journal.uses({ RabbitMQ: (await broker.ctl(['version'])).trim(), amqplib: ownPackageVersion('amqplib') });
  const vhost = freshName('floor');
  const url = await broker.createVhost(vhost);
  const connection = await amqp.connect(url, { noDelay: true });
  const publishing = await connection.createConfirmChannel();
  const queues = Array.from({ length: WORKERS }, (_, index) => `worker.${index + 1}`);
  for (const queue of [...queues, 'results']) await publishing.assertQueue(queue, QUORUM);
  const workers = await Promise.all(
    queues.map((queue) =>
      processes.startNode(`floor ${queue}`, [ROLE, url, queue, 'results'], { readyWhen: /ready/ }),
    ),
  );
  const results = await consumeResults(connection);
  const publish = publisher(publishing, queues);

  return {
    name: 'bare amqplib',
    async runBatch(count) {
      const target = results.count() + count;
      for (const batch of payloadBatches(count)) for (const item of batch) await publish(item, 'batch');
      await untilCount({ what: 'results of bare amqplib', read: async () => results.count(), target });
    },
    async requestReply(seq) {
      const answer = results.next(`one-${seq}`);
      await publish(payload(seq), `one-${seq}`);
      return answer;
    },
    roots: async () => ({ workers: workers.map(({ pid }) => pid), broker: [broker.pid] }),
    async stop() {
      await Promise.all(workers.map((worker) => worker.stop()));
      await connection.close();
      await broker.deleteVhost(vhost);
    },
  };
}

/**
 * Publishes in turn to each worker's queue; waits only when 1,000 messages are unconfirmed.
 *
 * @param {amqp.ConfirmChannel} channel
 * @param {string[]} queues
 */
function publisher(channel, queues) {
  let sent = 0;
  let unconfirmed = 0;
  /** @type {(() => void) | undefined} */
  let resume;
  return async (/** @type {object} */ item, /** @type {string} */ messageId) => {
    const queue = /** @type {string} */ (queues[sent++ % queues.length]);
    unconfirmed++;
    channel.sendToQueue(
      queue,
      Buffer.from(JSON.stringify(item)),
      { persistent: true, messageId },
      (error) => {
        if (error) throw error;
        unconfirmed--;
        resume?.();
      },
    );
    if (unconfirmed >= WINDOW)
      await new Promise((/** @type {(value?: unknown) => void} */ next) => (resume = next));
  };
}

/** @param {amqp.ChannelModel} connection */
async function consumeResults(connection) {
  const channel = await connection.createChannel();
  await channel.prefetch(WINDOW);
  /** @type {Map<string, (result: unknown) => void>} */
  const awaited = new Map();
  let count = 0;
  /** @type {amqp.ConsumeMessage | undefined} */
  let last;
  const ackAll = () => {
    if (last) channel.ack(last, true);
    last = undefined;
  };
  await channel.consume('results', (message) => {
    if (!message) return;
    const result = JSON.parse(message.content.toString());
    count++;
    if (!last) setImmediate(ackAll);
    last = message;
    awaited.get(message.properties.messageId)?.(result);
    awaited.delete(message.properties.messageId);
  });
  return {
    count: () => count,
    next: (/** @type {string} */ id) => new Promise((resolve) => awaited.set(id, resolve)),
  };
}
