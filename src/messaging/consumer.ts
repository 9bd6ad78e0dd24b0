import type { LoggerService } from '@nestjs/common';
import type { ConfirmChannel, ConsumeMessage, Message, MessagePropertyHeaders } from 'amqplib';
import { Acks, type SendAck } from './acks.js';
import type { BrokerLink } from './broker-link.js';
import { ChannelKeeper, closeQuietly } from './channel-keeper.js';

/** One message as handed to domain code: no channel, no tags. */
export interface Delivery {
  readonly content: Buffer;
  readonly type: string | undefined;
  readonly messageId: string | undefined;
  readonly correlationId: string | undefined;
  readonly headers: MessagePropertyHeaders;
  readonly exchange: string;
  readonly routingKey: string;
  /** It was delivered before: whoever had it may have begun. */
  readonly redelivered: boolean;
  /**
   * Done with it; the broker is told in a moment, with others, or at once where it would do harm to see it again. On a
   * channel that has closed since, nothing happens: the broker delivers it again.
   */
  ack(atOnce?: boolean): void;
  /** Gives it back to the queue, at the front. Counts towards the delivery limit. */
  requeue(): void;
  /** Lets the broker dead-letter it. Use `MessagingService.bury` where a reason can be given. */
  reject(): void;
}

export interface ConsumerOptions {
  link: BrokerLink;
  queue: string;
  prefetch: number;
  /**
   * The broker prefers the consumer with the highest one. A leader consumes at its epoch: one that is suspended, and
   * does not know yet that its term is over, gets no more messages than its successor has no room for.
   */
  priority?: number;
  purpose: string;
  logger: LoggerService;
  onDelivery: (delivery: Delivery) => void;
  /** The channel is gone and with it every unacked delivery: they come again, here or elsewhere. */
  onLost?: () => void;
  onNotFound?: () => Promise<void>;
  /** Declares what only this consumer needs (a queue of its own and its binding). @returns the queue to consume from */
  prepare?: (channel: ConfirmChannel) => Promise<string>;
  onConsuming?: () => void;
}

/** A supervised consumer: consumes again after a reconnect, a closed channel, and a cancel by the broker. */
export class Consumer {
  private readonly keeper: ChannelKeeper;
  private consumerTag: string | null = null;
  /** Of the channel that consumes, or did last. */
  private acks: Acks | null = null;

  constructor(private readonly options: ConsumerOptions) {
    this.keeper = new ChannelKeeper({
      link: options.link,
      purpose: options.purpose,
      logger: options.logger,
      setup: async (channel) => this.setup(channel),
      onLost: () => {
        this.consumerTag = null;
        options.onLost?.();
      },
      onNotFound: options.onNotFound,
    });
  }

  get isConsuming(): boolean {
    return this.consumerTag !== null && this.keeper.channel !== null;
  }

  /** What the broker should know of it; null while it does not consume, or from a queue of its own nobody else may ask for. */
  get subscription(): { queue: string; tag: string } | null {
    const tag = this.consumerTag;
    return tag !== null && this.isConsuming && !this.options.prepare
      ? { queue: this.options.queue, tag }
      : null;
  }

  start(): this {
    this.keeper.start();
    return this;
  }

  /** Gives every unacked delivery back and starts afresh: how long-held messages avoid the broker's consumer timeout. */
  async recycle(): Promise<void> {
    this.acks?.flush();
    await this.keeper.recycle();
  }

  /** Does something on the channel that consumes; nothing while there is none. */
  async onChannel(operation: (channel: ConfirmChannel) => Promise<unknown>): Promise<void> {
    const channel = this.keeper.channel;
    if (channel) {
      await operation(channel);
    }
  }

  /** No new deliveries; those in hand can still be acked until `stop`. */
  async pause(): Promise<void> {
    const tag = this.consumerTag;
    this.consumerTag = null;
    if (tag !== null) {
      await this.keeper.channel?.cancel(tag);
    }
  }

  async stop(): Promise<void> {
    this.consumerTag = null;
    this.acks?.flush();
    await this.keeper.stop();
  }

  private async setup(channel: ConfirmChannel): Promise<void> {
    const { queue, prefetch, priority, prepare } = this.options;
    const prepared = await prepare?.(channel);
    await channel.prefetch(prefetch, false);
    const send: SendAck = (deliveryTag, upTo) => onOpenChannel(() => channel.ack(tagged(deliveryTag), upTo));
    const acks = new Acks(send, prefetch);
    this.acks = acks;
    const { consumerTag } = await channel.consume(
      prepared ?? queue,
      (message) => this.deliver(channel, acks, message),
      {
        noAck: false,
        priority,
      },
    );
    this.consumerTag = consumerTag;
    this.options.onConsuming?.();
  }

  private deliver(channel: ConfirmChannel, acks: Acks, message: ConsumeMessage | null): void {
    if (message === null) {
      this.options.logger.warn(
        `${this.options.purpose}: the broker cancelled the consumer of ${this.options.queue}`,
      );
      // This channel, and not the keeper's: the cancel may come before the keeper has taken it over.
      void closeQuietly(channel);
      return;
    }
    try {
      acks.delivered(message.fields.deliveryTag);
      this.options.onDelivery(new ChannelDelivery(channel, message, acks));
    } catch (error) {
      // A throwing callback would close the channel and lose every other delivery on it.
      this.options.logger.error(`${this.options.purpose}: ${(error as Error).stack}`);
    }
  }
}

/** What amqplib reads of a message that is acked. */
function tagged(deliveryTag: number): Message {
  return { fields: { deliveryTag } } as Message;
}

export class ChannelDelivery implements Delivery {
  /** @param acks null = an ack goes at once */
  constructor(
    private readonly channel: ConfirmChannel,
    private readonly message: ConsumeMessage,
    private readonly acks: Acks | null,
  ) {}

  get content(): Buffer {
    return this.message.content;
  }
  get type(): string | undefined {
    return this.message.properties.type as string | undefined;
  }
  get messageId(): string | undefined {
    return this.message.properties.messageId as string | undefined;
  }
  get correlationId(): string | undefined {
    return this.message.properties.correlationId as string | undefined;
  }
  get headers(): MessagePropertyHeaders {
    return this.message.properties.headers ?? {};
  }
  get exchange(): string {
    return this.message.fields.exchange;
  }
  get routingKey(): string {
    return this.message.fields.routingKey;
  }
  get redelivered(): boolean {
    return this.message.fields.redelivered;
  }

  ack(atOnce = false): void {
    if (this.acks === null) {
      onOpenChannel(() => this.channel.ack(this.message));
    } else {
      this.acks.ack(this.message.fields.deliveryTag, atOnce);
    }
  }
  requeue(): void {
    this.refuse(true);
  }
  reject(): void {
    this.refuse(false);
  }

  private refuse(requeue: boolean): void {
    this.acks?.settled(this.message.fields.deliveryTag);
    onOpenChannel(() => this.channel.nack(this.message, false, requeue));
  }
}

/** A delivery belongs to its channel: once that has closed there is nothing left to settle, and that alone is forgiven. */
function onOpenChannel(settle: () => void): void {
  try {
    settle();
  } catch (error) {
    if ((error as Error).name !== 'IllegalOperationError') {
      throw error;
    }
  }
}
