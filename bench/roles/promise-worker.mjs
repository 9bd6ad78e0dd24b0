/** `node promise-worker.mjs <url> <queue> <results>`: gives inputs back, confirmed, then acks; in batches. */
import amqp from 'amqplib';
import { fromMessages, toMessages } from './promise-message.mjs';

/** In messages: the next ones are here while the results of these are being confirmed. */
const PREFETCH = 50;
const [url = '', queue = '', results = ''] = process.argv.slice(2);
const connection = await amqp.connect(url, { noDelay: true });
const channel = await connection.createConfirmChannel();
await channel.prefetch(PREFETCH);

/** @type {amqp.ConsumeMessage[]} */
let arrived = [];

async function flush() {
  const batch = arrived;
  arrived = [];
  const tasks = fromMessages(batch.map(({ content }) => content.toString()));
  const ends = tasks.map((part, index) => (index % 2 === 0 ? part : JSON.stringify(JSON.parse(part).inputs)));
  for (const { text } of toMessages(ends)) {
    channel.sendToQueue(results, Buffer.from(text), { persistent: true });
  }
  await channel.waitForConfirms();
  // An earlier batch's results were published earlier, so they are confirmed as well.
  const last = batch.at(-1);
  if (last) channel.ack(last, true);
}

await channel.consume(queue, (message) => {
  if (!message) return;
  if (arrived.length === 0) setImmediate(() => void flush());
  arrived.push(message);
});
process.once('SIGTERM', async () => {
  await connection.close();
  process.exit(0);
});
console.log('ready');
