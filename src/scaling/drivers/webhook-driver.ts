import { createHmac, randomUUID } from 'node:crypto';
import { type PoolWish, WorkerDriver, type WorkerInstance } from '../worker-driver.js';
import { allDone } from './all-done.js';
import { HttpApi } from './http-api.js';

export interface WebhookDriverOptions {
  /** http or https. */
  url: string;
  /** Signs the requests. */
  secret: string;
  /** What the receiver knows this installation by, say `AMQP_PREFIX`. */
  installation: string;
  /** For one request. Default 5,000. */
  timeoutMs?: number;
}

/** What is posted, as JSON. */
export interface WebhookMessage {
  workerClass: string;
  /** Workers that shall run, those to be retired not counted. */
  desired: number;
  /** Workers to end gracefully, the least busy first. A name may come again: it is to be asked once. */
  retire: readonly string[];
  /** For people. */
  reason: string;
  /** When it was sent, ISO 8601. A message with an earlier one than the last of its class is out of date. */
  at: string;
  installation: string;
}

/** What one class was told last. */
interface Delivery {
  /** The same for every try. */
  id: string;
  wish: PoolWish;
  hasArrived: boolean;
}

const DEFAULT_TIMEOUT_MS = 5_000;
const SHOWN_LENGTH = 200;

/**
 * `sha256=` and the HMAC of `<timestamp>.<body>`: a signature cannot be used for another body or at another time.
 * @param timestamp as sent, seconds since the epoch
 */
export function webhookSignature(secret: string, timestamp: string, body: string): string {
  return `sha256=${createHmac('sha256', secret).update(`${timestamp}.${body}`).digest('hex')}`;
}

/**
 * Tells another system how many workers of each class there should be, and whom to end. It is told once for each wish
 * that differs from the last; one that was not answered with 2xx is sent again by the next round, under the same id. A
 * new leader cannot know what its predecessor told, and tells all of it.
 */
export class WebhookDriver extends WorkerDriver {
  private readonly url: URL;
  private http: HttpApi | null = null;
  /** The last of each class. */
  private deliveries = new Map<string, Delivery>();
  private round: Promise<void> = Promise.resolve();

  constructor(private readonly options: WebhookDriverOptions) {
    super();
    this.url = new URL(options.url);
  }

  async start(): Promise<void> {
    await this.stop();
    this.deliveries = new Map();
    this.http = new HttpApi({
      name: 'SCALING_WEBHOOK_URL',
      origin: this.url.origin,
      timeoutMs: this.options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
      maxAnswerBytes: 4 * SHOWN_LENGTH,
    });
  }

  async stop(): Promise<void> {
    const { http } = this;
    this.http = null;
    await http?.close();
    await this.round.catch(() => undefined);
  }

  reconcile(wishes: readonly PoolWish[]): Promise<void> {
    const { http } = this;
    if (!http) return Promise.resolve();
    // One round after the other: an older message never overtakes a newer one.
    const round = this.round
      .catch(() => undefined)
      .then(() => allDone(wishes.map((wish) => () => this.tell(http, wish))));
    this.round = round;
    return round;
  }

  /** Nobody says what the other system runs. */
  instances(): Promise<WorkerInstance[] | null> {
    return Promise.resolve(null);
  }

  /** The workers are the other system's. */
  shutdown(): Promise<void> {
    return this.stop();
  }

  private async tell(http: HttpApi, wish: PoolWish): Promise<void> {
    if (http !== this.http) return;
    const delivery = this.deliveryOf(wish);
    if (delivery.hasArrived) return;
    const nowMs = Date.now();
    const body = JSON.stringify(this.messageOf(delivery.wish, nowMs));
    const timestamp = String(Math.floor(nowMs / 1000));
    const { status, text } = await http.call({
      method: 'POST',
      path: `${this.url.pathname}${this.url.search}`,
      body,
      headers: {
        ...basicAuthorization(this.url),
        'idempotency-key': delivery.id,
        'x-flow-timestamp': timestamp,
        'x-flow-signature': webhookSignature(this.options.secret, timestamp, body),
      },
    });
    if (status < 200 || status > 299) {
      // Not its path: for some receivers that is a secret.
      throw new Error(
        `expected 2xx from SCALING_WEBHOOK_URL (${this.url.origin}) for class "${wish.workerClass.name}", got ${status}: ${text.slice(0, SHOWN_LENGTH)}`,
      );
    }
    delivery.hasArrived = true;
  }

  private deliveryOf(wish: PoolWish): Delivery {
    const last = this.deliveries.get(wish.workerClass.name);
    if (last && !isNews(wish, last.wish)) return last;
    const delivery = { id: randomUUID(), wish, hasArrived: false };
    this.deliveries.set(wish.workerClass.name, delivery);
    return delivery;
  }

  private messageOf({ workerClass, instances, retire, reason }: PoolWish, nowMs: number): WebhookMessage {
    return {
      workerClass: workerClass.name,
      desired: instances,
      retire,
      reason,
      at: new Date(nowMs).toISOString(),
      installation: this.options.installation,
    };
  }
}

/** That somebody who was to end is gone is none. */
function isNews(wish: PoolWish, told: PoolWish): boolean {
  return wish.instances !== told.instances || wish.retire.some((name) => !told.retire.includes(name));
}

/** User and password that were written into the URL. */
function basicAuthorization({ username, password }: URL): Record<string, string> {
  if (username === '') return {};
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` };
}
