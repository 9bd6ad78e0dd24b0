/** `node floor-worker.mjs <url> <queue> <results>`: consumes, publishes each result confirmed, then acks; in batches. */
import amqp from 'amqplib';

const PREFETCH = 200;
const [url = '', queue = '', results = ''] = process.argv.slice(2);
const connection = await amqp.connect(url, { noDelay: true });
const channel = await connection.createConfirmChannel();
await channel.prefetch(PREFETCH);

/** @type {amqp.ConsumeMessage[]} */
let arrived = [];

async function flush() {
  const batch = arrived;
  arrived = [];
  for (const { content, properties } of batch) {
    const result = Buffer.from(JSON.stringify(JSON.parse(content.toString())));
    channel.sendToQueue(results, result, { persistent: true, messageId: properties.messageId });
  }
  await channel.waitForConfirms();
  for (const message of batch) channel.ack(message);
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
