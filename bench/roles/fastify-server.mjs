/** `node fastify-server.mjs <AMQP url> <port>`: POST / publishes the body, and answers 202 once that is confirmed. */
import amqp from 'amqplib';
import fastify from 'fastify';

const QUEUE = 'tasks';
const [url = '', port] = process.argv.slice(2);
const connection = await amqp.connect(url, { noDelay: true });
const channel = await connection.createConfirmChannel();
await channel.assertQueue(QUEUE, { durable: true, arguments: { 'x-queue-type': 'quorum' } });

const app = fastify();
app.post('/', async (request, reply) => {
  await new Promise((/** @type {(value?: unknown) => void} */ resolve, reject) => {
    const body = Buffer.from(JSON.stringify(request.body));
    channel.sendToQueue(QUEUE, body, { persistent: true }, (error) => (error ? reject(error) : resolve()));
  });
  return reply.code(202).send({ status: 'accepted' });
});
await app.listen({ host: '127.0.0.1', port: Number(port) });
process.once('SIGTERM', async () => {
  await app.close();
  await connection.close();
  process.exit(0);
});
console.log('ready');
