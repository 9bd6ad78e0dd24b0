/**
 * `node promise-server.mjs <AMQP url> <port> <database file> <results> <worker queue> …`: POST / takes a flow and
 * answers 202, or with ?wait=1 its result; POST /batch takes `{ items }`; GET /count says how many have ended.
 *
 * A flow's row is on disk, then its message is confirmed, then it is accepted. A result's row is on disk, then it is
 * acked. What gathers during a commit shares the next one.
 */
import { Worker } from 'node:worker_threads';
import amqp from 'amqplib';
import fastify from 'fastify';
import { fromMessages, toMessages } from './promise-message.mjs';

const PREFETCH = 1_000;
const BODY_LIMIT = 16 * 1024 * 1024;
const QUORUM = { durable: true, arguments: { 'x-queue-type': 'quorum' } };
const [url = '', port, file, results = '', ...queues] = process.argv.slice(2);

/**
 * One request's flows that are not accepted yet.
 *
 * @typedef {{ left: number, accept: () => void }} Submit
 *
 * @typedef {object} Commit
 * @property {string[]} begun id, request, id, request, …
 * @property {Submit[]} submits of each flow begun
 * @property {amqp.ConsumeMessage[]} ended
 */

/** @returns {Commit} */
const nothing = () => ({ begun: [], submits: [], ended: [] });

const ids = timeOrderedIds();
/** @type {Map<string, (result: string) => void>} */
const awaited = new Map();
let gathered = nothing();
let isCommitting = false;
let sent = 0;
let endedCount = 0;

const thread = new Worker(new URL('./promise-thread.mjs', import.meta.url), { workerData: { file } });
await new Promise((resolve, reject) => thread.once('message', resolve).once('error', reject));
const connection = await amqp.connect(url, { noDelay: true });
const publishing = await connection.createConfirmChannel();
const consuming = await connection.createChannel();
for (const queue of [results, ...queues]) await publishing.assertQueue(queue, QUORUM);
await consuming.prefetch(PREFETCH);
await consuming.consume(results, (message) => {
  if (!message) return;
  commitSoon();
  gathered.ended.push(message);
});

const app = fastify({ bodyLimit: BODY_LIMIT });
app.removeContentTypeParser('application/json');
app.addContentTypeParser('application/json', { parseAs: 'string' }, (_, text, done) => done(null, text));
app.post('/', async (request, reply) => {
  const text = /** @type {string} */ (request.body);
  JSON.parse(text); // What is no JSON is refused; what is goes on as it came.
  const id = ids.next().value;
  if (/** @type {{ wait?: string }} */ (request.query).wait !== '1') {
    await accepted([id], [text]);
    return reply.code(202).send({ id });
  }
  const result = new Promise((/** @type {(result: string) => void} */ resolve) => awaited.set(id, resolve));
  await accepted([id], [text]);
  return reply.type('application/json').send(await result);
});
app.post('/batch', async ({ body }) => {
  const { items } = JSON.parse(/** @type {string} */ (body));
  const texts = items.map((/** @type {object} */ item) => JSON.stringify(item));
  const all = texts.map(() => ids.next().value);
  await accepted(all, texts);
  return { ids: all };
});
app.get('/count', async () => ({ ended: endedCount }));
await app.listen({ host: '127.0.0.1', port: Number(port) });
process.once('SIGTERM', async () => {
  await app.close();
  await connection.close();
  thread.postMessage('close', []);
  await new Promise((resolve) => thread.once('exit', resolve));
  process.exit(0);
});
console.log('ready');

/** Their order is that of their making, so that rows and keys are appended. @returns {Generator<string, never>} */
function* timeOrderedIds() {
  const start = Date.now().toString(36);
  for (let number = 0; ; number++) yield start + number.toString(36).padStart(7, '0');
}

/**
 * Resolves when all have their rows on disk and their messages confirmed.
 *
 * @param {string[]} flowIds
 * @param {string[]} texts
 */
function accepted(flowIds, texts) {
  return new Promise((/** @type {(value?: unknown) => void} */ resolve) => {
    const submit = { left: texts.length, accept: () => resolve() };
    commitSoon();
    texts.forEach((text, index) => {
      gathered.begun.push(/** @type {string} */ (flowIds[index]), text);
      gathered.submits.push(submit);
    });
  });
}

/** After what else arrives in this turn; during a commit, its end does it. */
function commitSoon() {
  if (!isCommitting && gathered.begun.length === 0 && gathered.ended.length === 0) setImmediate(commit);
}

function commit() {
  const { begun, submits, ended } = gathered;
  gathered = nothing();
  isCommitting = true;
  const tasks = toMessages(begun);
  const ends = ended.map(({ content }) => content.toString());
  thread.once('message', (changes) => {
    isCommitting = false;
    if (gathered.begun.length > 0 || gathered.ended.length > 0) commit();
    for (const { from, to, text } of tasks) publish(text, submits.slice(from, to));
    settle(ends, changes);
    const last = ended.at(-1);
    if (last) consuming.ack(last, true);
  });
  thread.postMessage({ begun: tasks.map(({ text }) => text), ended: ends }, []);
}

/**
 * @param {string} text
 * @param {Submit[]} submits
 */
function publish(text, submits) {
  const queue = /** @type {string} */ (queues[sent++ % queues.length]);
  publishing.sendToQueue(queue, Buffer.from(text), { persistent: true }, (error) => {
    if (error) throw error;
    for (const submit of submits) if (--submit.left === 0) submit.accept();
  });
}

/**
 * @param {string[]} ends
 * @param {number} changes rows that have got a result
 */
function settle(ends, changes) {
  endedCount += changes;
  if (awaited.size === 0) return;
  const pairs = fromMessages(ends);
  for (let index = 0; index < pairs.length; index += 2) {
    const id = /** @type {string} */ (pairs[index]);
    awaited.get(id)?.(/** @type {string} */ (pairs[index + 1]));
    awaited.delete(id);
  }
}
