import { context, propagation } from '@opentelemetry/api';
import { Inject, Injectable, Logger, type OnApplicationShutdown } from '@nestjs/common';
import { BrokerAdmin } from './broker-admin.js';
import { BrokerLink } from './broker-link.js';
import { readTlsFiles } from './broker-tls.js';
import { Consumer, type ConsumerOptions } from './consumer.js';
import { ConsumerWatch } from './consumer-watch.js';
import { MESSAGING_OPTIONS, type MessagingOptions } from './messaging.options.js';
import { type OutgoingMessage, Publisher, type PublishOutcome } from './publisher.js';

/**
 * The process's way to RabbitMQ: three connections, one per role, so that a memory alarm that blocks publishing
 * leaves consuming and control alone. Nothing outside this folder touches amqplib.
 */
@Injectable()
export class MessagingService implements OnApplicationShutdown {
  /** Called when the broker says that an exchange or queue of ours is missing (an operator deleted it). */
  onMissing: (() => Promise<void>) | null = null;
  readonly admin: BrokerAdmin;
  private readonly logger = new Logger(MessagingService.name);
  private readonly links: Record<'publish' | 'consume' | 'control', BrokerLink>;
  private readonly publisher: Publisher;
  private readonly consumers = new Set<Consumer>();
  private readonly watch: ConsumerWatch;
  /** Since when at least one connection has been missing; null while all are open. */
  private awaySinceMs: number | null = performance.now();

  constructor(@Inject(MESSAGING_OPTIONS) options: MessagingOptions) {
    const tls = readTlsFiles(options.tls);
    const link = (role: string): BrokerLink =>
      new BrokerLink({
        name: `${options.instance} ${role}`,
        urls: options.urls,
        tls,
        heartbeatS: options.heartbeatS,
        logger: this.logger,
      });
    this.links = { publish: link('publish'), consume: link('consume'), control: link('control') };
    Object.values(this.links).forEach((each) => {
      each.on('up', () => {
        this.awaySinceMs = this.isUp ? null : this.awaySinceMs;
      });
      each.on('down', () => {
        this.awaySinceMs ??= performance.now();
      });
    });
    this.admin = new BrokerAdmin(this.links.control, this.logger);
    this.watch = new ConsumerWatch({
      consumers: this.consumers,
      depth: (queue) => this.admin.depth(queue),
      logger: this.logger,
    }).start();
    this.publisher = new Publisher({
      link: this.links.publish,
      purpose: 'publisher',
      logger: this.logger,
      window: options.publishWindow,
      timeoutMs: options.publishTimeoutMs,
      onNotFound: this.restoreMissing,
    }).start();
  }

  /** True while all three connections are open. */
  get isUp(): boolean {
    const { publish, consume, control } = this.links;
    return publish.isUp && consume.isUp && control.isUp;
  }

  /** For how long at least one connection has been missing, ms; 0 while all are open. */
  get awayMs(): number {
    return this.awaySinceMs === null ? 0 : performance.now() - this.awaySinceMs;
  }

  /** Why the broker takes no messages at present; null when it does. */
  get blockedReason(): string | null {
    return this.links.publish.blockedReason;
  }

  get lastError(): string | null {
    return Object.values(this.links).find((link) => link.lastError !== null)?.lastError ?? null;
  }

  /** How many messages wait for the broker's confirm. */
  get unconfirmed(): number {
    return this.publisher.pending;
  }

  /** Resolves at once if connected, else when the connections are. */
  async connected(): Promise<void> {
    await Promise.all(
      Object.values(this.links).map((link) =>
        link.isUp ? undefined : new Promise<void>((resolve) => link.once('up', () => resolve())),
      ),
    );
  }

  /** Calls `listener` now, if connected, and after every reconnect of the control connection. */
  onConnect(listener: () => void): void {
    this.links.control.on('up', listener);
    if (this.links.control.isUp) {
      listener();
    }
  }

  /** Calls `listener` whenever all three connections have come to be open. */
  onUp(listener: () => void): void {
    Object.values(this.links).forEach((link) => link.on('up', () => this.isUp && listener()));
  }

  /** Calls `listener` whenever the broker takes messages again. */
  onUnblocked(listener: () => void): void {
    this.links.publish.on('unblocked', listener);
  }

  /** See `Publisher.publish`. Carries the active trace along (W3C `traceparent`), if the process has an OpenTelemetry SDK. */
  publish(message: OutgoingMessage): Promise<PublishOutcome> {
    propagation.inject(context.active(), message.headers);
    return this.publisher.publish(message);
  }

  /** Starts a supervised consumer; it consumes whenever there is a connection, until stopped. */
  consume(
    options: Omit<ConsumerOptions, 'link' | 'logger' | 'onNotFound'> & Partial<ConsumerOptions>,
  ): Consumer {
    const consumer = new Consumer({
      link: this.links.consume,
      logger: this.logger,
      onNotFound: this.restoreMissing,
      ...options,
    }).start();
    this.consumers.add(consumer);
    return consumer;
  }

  async stopConsuming(consumer: Consumer): Promise<void> {
    this.consumers.delete(consumer);
    await consumer.stop();
  }

  async onApplicationShutdown(): Promise<void> {
    this.watch.stop();
    await Promise.all([...this.consumers].map((consumer) => consumer.stop()));
    await this.publisher.stop();
    await this.admin.close();
    await Promise.all(Object.values(this.links).map((link) => link.close()));
  }

  private readonly restoreMissing = async (): Promise<void> => {
    await this.onMissing?.();
  };
}
