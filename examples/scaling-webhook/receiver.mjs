// A receiver for WORKER_DRIVER=webhook. Node 20 or later, no packages:
//
//   SCALING_WEBHOOK_SECRET=… PORT=8080 node examples/scaling-webhook/receiver.mjs
//
// It takes only what was signed with the secret, and at most five minutes ago. Put your platform in at `apply`.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

const WINDOW_MS = 300_000;
const BODY_LIMIT_BYTES = 1_048_576;

/** Who signed this knows the secret, and did it a short time ago. Compares in constant time. */
export function isGenuine(secret, headers, body, nowMs = Date.now()) {
  const timestamp = String(headers['x-flow-timestamp'] ?? '');
  const sent = Buffer.from(String(headers['x-flow-signature'] ?? ''));
  const digest = createHmac('sha256', secret).update(`${timestamp}.`).update(body).digest('hex');
  const expected = Buffer.from(`sha256=${digest}`);
  const isSigned = sent.length === expected.length && timingSafeEqual(sent, expected);
  return isSigned && Math.abs(nowMs - Number(timestamp) * 1000) <= WINDOW_MS;
}

/**
 * A handler for `createServer`.
 * @param apply takes `{ workerClass, desired, retire, reason, at, installation }`; may come again with the same content.
 *   When it fails, the answer is 500 and the orchestrator sends the message again.
 */
export function receiver(secret, apply) {
  if (secret.length < 16) throw new Error('expected SCALING_WEBHOOK_SECRET with at least 16 characters');
  /** `at` of the newest message of each class: what is older, or was recorded and sent again, is dropped. */
  const newest = new Map();

  async function answer(request) {
    const body = await bodyOf(request);
    if (body === null) return 413;
    if (!isGenuine(secret, request.headers, body)) return 401;
    const message = JSON.parse(body.toString());
    const key = `${message.installation} ${message.workerClass}`;
    if (message.at <= (newest.get(key) ?? '')) return 409;
    await apply(message);
    newest.set(key, message.at);
    return 204;
  }

  return (request, response) => {
    answer(request).then(
      (status) => response.writeHead(status).end(),
      (error) => response.writeHead(500).end(String(error.message)),
    );
  };
}

async function bodyOf(request) {
  const chunks = [];
  let sizeBytes = 0;
  for await (const chunk of request) {
    sizeBytes += chunk.length;
    if (sizeBytes > BODY_LIMIT_BYTES) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Here your platform is told: so many instances, and these are to get their SIGTERM. */
function apply({ workerClass, desired, retire, reason }) {
  console.log(JSON.stringify({ workerClass, desired, retire, reason }));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { SCALING_WEBHOOK_SECRET = '', PORT = '8080', HOST = '127.0.0.1' } = process.env;
  const server = createServer(receiver(SCALING_WEBHOOK_SECRET, apply));
  server.listen(Number(PORT), HOST, () => console.log(`listening on ${HOST}:${server.address().port}`));
  process.once('SIGTERM', () => server.close());
}
