import { createHmac } from 'node:crypto';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { parseWorkerClass } from '../../../src/config/worker-class.js';
import {
  WebhookDriver,
  type WebhookDriverOptions,
  type WebhookMessage,
  webhookSignature,
} from '../../../src/scaling/drivers/webhook-driver.js';
import type { PoolWish } from '../../../src/scaling/worker-driver.js';

const SECRET = 'a secret for the tests';

const wish = (instances: number, retire: string[] = [], reason = 'load 0.9'): PoolWish => ({
  workerClass: parseWorkerClass('general:0-9'),
  instances,
  reason,
  retire,
});

interface Post {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
  message: WebhookMessage;
}

describe('the webhook driver', () => {
  let server: Server;
  let origin: string;
  let posts: Post[];
  let answer: { status: number; text?: string; headers?: Record<string, string> } | 'none';
  let drivers: WebhookDriver[];

  beforeEach(async () => {
    posts = [];
    drivers = [];
    answer = { status: 204 };
    server = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const body = Buffer.concat(chunks).toString();
      const { method = '', url = '', headers } = request;
      posts.push({ method, path: url, headers, body, message: JSON.parse(body) as WebhookMessage });
      if (answer !== 'none') response.writeHead(answer.status, answer.headers).end(answer.text);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    origin = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  });
  afterEach(async () => {
    await Promise.all(drivers.map((driver) => driver.stop()));
    await new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    });
  });

  async function begun(options: Partial<WebhookDriverOptions> = {}): Promise<WebhookDriver> {
    const driver = new WebhookDriver({
      url: `${origin}/hooks/pool?zone=eu`,
      secret: SECRET,
      installation: 'shop-',
      ...options,
    });
    drivers.push(driver);
    await driver.start();
    return driver;
  }

  it('posts the wish, signed', async () => {
    const driver = await begun();
    await driver.reconcile([wish(3, ['w1', 'w2'])]);
    expect(posts).toHaveLength(1);
    const [{ method, path, headers, body, message }] = posts as [Post];
    expect([method, path, headers['content-type']]).toEqual([
      'POST',
      '/hooks/pool?zone=eu',
      'application/json',
    ]);
    expect(message).toEqual({
      workerClass: 'general',
      desired: 3,
      retire: ['w1', 'w2'],
      reason: 'load 0.9',
      at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      installation: 'shop-',
    });
    const timestamp = String(headers['x-flow-timestamp']);
    expect(Math.abs(Date.now() / 1000 - Number(timestamp))).toBeLessThan(5);
    const digest = createHmac('sha256', SECRET).update(`${timestamp}.${body}`).digest('hex');
    expect(headers['x-flow-signature']).toBe(`sha256=${digest}`);
    expect(headers['idempotency-key']).toMatch(/^[0-9a-f-]{36}$/);
    expect(JSON.stringify(posts)).not.toContain(SECRET);
  });

  it('signs in a way that can be checked by others', () => {
    // printf '1763712000.{}' | openssl dgst -sha256 -hmac 'a secret for the tests'
    expect(webhookSignature(SECRET, '1763712000', '{}')).toBe(
      'sha256=c7e9b0d1c9b9b91ae887278cc96b9d6861dc9d171c59c05f241a9563329c5731',
    );
  });

  it('posts again only when there is news', async () => {
    const driver = await begun();
    await driver.reconcile([wish(3, ['w1', 'w2'])]);
    await driver.reconcile([wish(3, ['w2', 'w1'], 'load 0.8')]);
    await driver.reconcile([wish(3, ['w2'])]);
    expect(posts).toHaveLength(1);
    await driver.reconcile([wish(3, ['w2', 'w3'])]);
    await driver.reconcile([wish(4)]);
    expect(posts.map(({ message }) => [message.desired, message.retire])).toEqual([
      [3, ['w1', 'w2']],
      [3, ['w2', 'w3']],
      [4, []],
    ]);
    expect(new Set(posts.map(({ headers }) => headers['idempotency-key'])).size).toBe(3);
  });

  it('tells all of it in a new term: nobody knows what was told before', async () => {
    const driver = await begun();
    await driver.reconcile([wish(3)]);
    await driver.stop();
    await driver.start();
    await driver.reconcile([wish(3)]);
    expect(posts).toHaveLength(2);
  });

  it('tries again in the next round, under the same id, until it was answered with 2xx', async () => {
    const driver = await begun();
    answer = { status: 503, text: `<html>${'x'.repeat(10_000)}` };
    const failure = await driver.reconcile([wish(3)]).catch((error: Error) => error.message);
    expect(failure).toBe(
      `expected 2xx from SCALING_WEBHOOK_URL (${origin}) for class "general", got 503: <html>${'x'.repeat(194)}`,
    );
    answer = { status: 204 };
    await driver.reconcile([wish(3)]);
    await driver.reconcile([wish(3)]);
    expect(posts).toHaveLength(2);
    const [first, second] = posts as [Post, Post];
    expect(second.headers['idempotency-key']).toBe(first.headers['idempotency-key']);
    expect(second.message.at > first.message.at).toBe(true);
  });

  it('replaces a wish that did not arrive by the next', async () => {
    const driver = await begun();
    answer = { status: 500 };
    await expect(driver.reconcile([wish(3)])).rejects.toThrow('got 500');
    answer = { status: 200, text: 'thank you' };
    await driver.reconcile([wish(2)]);
    await driver.reconcile([wish(2)]);
    expect(posts.map(({ message }) => message.desired)).toEqual([3, 2]);
  });

  it('does not follow redirects', async () => {
    const driver = await begun();
    answer = { status: 307, headers: { location: `${origin}/elsewhere` } };
    await expect(driver.reconcile([wish(3)])).rejects.toThrow('got 307');
    expect(posts).toHaveLength(1);
  });

  it('does not wait longer than it may', async () => {
    const driver = await begun({ timeoutMs: 200 });
    answer = 'none';
    await expect(driver.reconcile([wish(3)])).rejects.toThrow(
      `expected an answer of SCALING_WEBHOOK_URL (${origin}) within 200 ms, got none`,
    );
  });

  it('sends the user of the URL along, and shows nothing of the URL that could be a secret', async () => {
    const driver = await begun({ url: `${origin.replace('//', '//me:p%40ss@')}/hooks/T0KEN?key=K3Y` });
    answer = { status: 404 };
    const failure = await driver.reconcile([wish(3)]).catch((error: Error) => error.message);
    expect(posts[0]!.headers.authorization).toBe(`Basic ${Buffer.from('me:p@ss').toString('base64')}`);
    expect(failure).not.toMatch(/T0KEN|K3Y|p@ss|p%40ss|a secret/);
  });
});
