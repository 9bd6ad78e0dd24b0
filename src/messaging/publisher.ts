import type { LoggerService } from '@nestjs/common';
import type { ConfirmChannel, Message, Options } from 'amqplib';
import type { BrokerLink } from './broker-link.js';
import { ChannelKeeper } from './channel-keeper.js';

export interface OutgoingMessage {
  exchange: string;
  routingKey: string;
  type: string;
  messageId: string;
  correlationId?: string;
  headers: Record<string, unknown>;
  content: Buffer;
  /** False only for what is worthless after a broker restart (heartbeats). Default true. */
  persistent?: boolean;
}

/** `unroutable`: the broker took the message but no queue wanted it, so it is gone. */
export type PublishOutcome = 'routed' | 'unroutable';

/** The deadline passed without a confirm. The message may or may not have arrived: publish it again under the same id. */
export class PublishTimeoutError extends Error {
  override readonly name = 'PublishTimeoutError';
}
/** The broker refused the message (queue full, or an internal error). It did not arrive. */
export class PublishRefusedError extends Error {
  override readonly name = 'PublishRefusedError';
}

export interface PublisherOptions {
  link: BrokerLink;
  purpose: string;
  logger: LoggerService;
  /** The most messages without a confirm at a time; further ones wait here. */
  window: number;
  /** From `publish` to the confirm. */
  timeoutMs: number;
  onNotFound?: () => Promise<void>;
}

interface Entry {
  message: OutgoingMessage;
  deadline: number;
  returned: boolean;
  resolve: (outcome: PublishOutcome) => void;
  reject: (error: Error) => void;
}

const SWEEP_MS = 250;

/**
 * Confirmed publishing with a bounded window. Entries wait in order for a place in the window, for the socket to
 * drain, and for a channel; what was unconfirmed when a channel died is published again on the next one, under the
 * same `messageId`, until its deadline. One timer serves all deadlines, since they pass in order of arrival.
 */
export class Publisher {
  private readonly waiting: Entry[] = [];
  private readonly unconfirmed = new Set<Entry>();
  private readonly byMessageId = new Map<string, Entry>();
  private readonly keeper: ChannelKeeper;
  private socketFull = false;
  private sweep: NodeJS.Timeout | null = null;

  constructor(private readonly options: PublisherOptions) {
    this.keeper = new ChannelKeeper({
      link: options.link,
      purpose: options.purpose,
      logger: options.logger,
      setup: async (channel) => this.setup(channel),
      onLost: () => this.republishUnconfirmed(),
      onNotFound: options.onNotFound,
    });
  }

  start(): this {
    this.keeper.start();
    return this;
  }

  /** How many messages wait for a confirm or for a place in the window. */
  get pending(): number {
    return this.waiting.length + this.unconfirmed.size;
  }

  /**
   * Publishes and waits for the broker's confirm.
   * @throws PublishTimeoutError if none came in `timeoutMs`; PublishRefusedError if the broker said no
   */
  publish(message: OutgoingMessage): Promise<PublishOutcome> {
    return new Promise((resolve, reject) => {
      const deadline = performance.now() + this.options.timeoutMs;
      this.waiting.push({ message, deadline, returned: false, resolve, reject });
      this.sweep ??= setInterval(() => this.expire(), SWEEP_MS);
      this.flush();
    });
  }

  async stop(): Promise<void> {
    if (this.sweep) {
      clearInterval(this.sweep);
      this.sweep = null;
    }
    await this.keeper.stop();
    for (const entry of [...this.unconfirmed, ...this.waiting.splice(0)]) {
      this.unconfirmed.delete(entry);
      entry.reject(
        new PublishTimeoutError(
          `${this.options.purpose}: stopped before ${entry.message.messageId} was confirmed`,
        ),
      );
    }
  }

  private async setup(channel: ConfirmChannel): Promise<void> {
    channel.on('drain', () => {
      this.socketFull = false;
      this.flush();
    });
    // The return comes before the confirm of the same message, so the confirm finds the mark.
    channel.on('return', (message: Message) => {
      const entry = this.byMessageId.get(String(message.properties.messageId));
      if (entry) {
        entry.returned = true;
      }
    });
    this.socketFull = false;
    setImmediate(() => this.flush());
  }

  private flush(): void {
    const channel = this.keeper.channel;
    if (!channel) {
      return;
    }
    while (!this.socketFull && this.waiting.length > 0 && this.unconfirmed.size < this.options.window) {
      this.send(channel, this.waiting.shift()!);
    }
  }

  private send(channel: ConfirmChannel, entry: Entry): void {
    const { message } = entry;
    const properties: Options.Publish = {
      persistent: message.persistent ?? true,
      mandatory: true,
      type: message.type,
      messageId: message.messageId,
      correlationId: message.correlationId,
      contentType: 'application/json',
      timestamp: Math.floor(Date.now() / 1000),
      headers: message.headers,
    };
    this.unconfirmed.add(entry);
    this.byMessageId.set(message.messageId, entry);
    entry.returned = false;
    try {
      // False means that the socket's buffer is full, not that the message was refused: it has been taken.
      this.socketFull = !channel.publish(
        message.exchange,
        message.routingKey,
        message.content,
        properties,
        (error) => this.confirmed(entry, error as Error | null),
      );
    } catch (error) {
      this.settle(entry);
      entry.reject(error as Error);
    }
  }

  private confirmed(entry: Entry, error: Error | null): void {
    if (!this.unconfirmed.has(entry)) {
      return;
    }
    if (error && error.message !== 'message nacked') {
      return; // the channel died; `republishUnconfirmed` sees to it
    }
    this.settle(entry);
    if (error) {
      entry.reject(
        new PublishRefusedError(
          `the broker refused ${entry.message.messageId} for ${entry.message.exchange}`,
        ),
      );
    } else {
      entry.resolve(entry.returned ? 'unroutable' : 'routed');
    }
    this.flush();
  }

  private settle(entry: Entry): void {
    this.unconfirmed.delete(entry);
    if (this.byMessageId.get(entry.message.messageId) === entry) {
      this.byMessageId.delete(entry.message.messageId);
    }
  }

  private republishUnconfirmed(): void {
    this.waiting.unshift(...this.unconfirmed);
    this.unconfirmed.clear();
    this.byMessageId.clear();
  }

  private expire(): void {
    const now = performance.now();
    for (const queue of [this.unconfirmed, this.waiting]) {
      for (const entry of queue) {
        if (entry.deadline > now) {
          break;
        }
        this.drop(entry);
      }
    }
    if (this.pending === 0 && this.sweep) {
      clearInterval(this.sweep);
      this.sweep = null;
    }
  }

  private drop(entry: Entry): void {
    this.settle(entry);
    const index = this.waiting.indexOf(entry);
    if (index >= 0) {
      this.waiting.splice(index, 1);
    }
    const { link, timeoutMs } = this.options;
    const cause =
      link.blockedReason ?? (link.isUp ? 'the broker did not answer' : (link.lastError ?? 'not connected'));
    entry.reject(
      new PublishTimeoutError(`no confirm for ${entry.message.messageId} within ${timeoutMs} ms: ${cause}`),
    );
  }
}
