import type { LoggerService } from '@nestjs/common';
import type { ConfirmChannel, ConsumeMessage, GetMessage } from 'amqplib';
import type { BrokerLink } from './broker-link.js';
import { closeQuietly } from './channel-keeper.js';
import { ChannelDelivery, type Delivery } from './consumer.js';

/** What `declare` works through; `queue/topology.ts` has ours. */
export interface Declarations {
  exchanges: { name: string; kind: string }[];
  queues: { name: string; arguments: Record<string, string | number> }[];
  bindings: { queue: string; exchange: string; routingKey: string }[];
}

export interface QueueDepth {
  messages: number;
  consumers: number;
}

/** Something on the broker has our name and other properties. Starting anyway would lose a guarantee. */
export class TopologyConflictError extends Error {
  override readonly name = 'TopologyConflictError';
}

export class BrokerAwayError extends Error {
  override readonly name = 'BrokerAwayError';
}

/** Longest a single operation may take before the broker counts as away. */
const OPERATION_TIMEOUT_MS = 10_000;

/**
 * Declaring, measuring and emptying queues. Operations run one after the other on a channel of their own, since the
 * broker closes a channel at the first question about something that is not there.
 */
export class BrokerAdmin {
  private channel: ConfirmChannel | null = null;
  private lastError: (Error & { code?: number }) | null = null;
  private tail: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly link: BrokerLink,
    private readonly logger: LoggerService,
  ) {}

  /** Declares all of it; harmless when it stands already. @throws TopologyConflictError naming both argument sets */
  async declare(declarations: Declarations): Promise<void> {
    for (const { name, kind } of declarations.exchanges) {
      await this.run(
        (channel) => channel.assertExchange(name, kind, { durable: true }),
        `exchange ${name} (${kind}, durable)`,
      );
    }
    for (const { name, arguments: args } of declarations.queues) {
      await this.run(
        (channel) => channel.assertQueue(name, { durable: true, arguments: args }),
        `queue ${name} with ${JSON.stringify(args)}`,
      );
    }
    for (const { queue, exchange, routingKey } of declarations.bindings) {
      await this.run((channel) => channel.bindQueue(queue, exchange, routingKey));
    }
  }

  /** Null when there is no such queue. */
  async depth(queue: string): Promise<QueueDepth | null> {
    const found = await this.run((channel) => channel.checkQueue(queue)).catch(nullIfNotFound);
    return found && { messages: found.messageCount, consumers: found.consumerCount };
  }

  async unbind(queue: string, exchange: string, routingKey: string): Promise<void> {
    await this.run((channel) => channel.unbindQueue(queue, exchange, routingKey)).catch(nullIfNotFound);
  }

  async deleteQueue(queue: string): Promise<void> {
    await this.run((channel) => channel.deleteQueue(queue));
  }

  /** Takes one message off the queue; null when it is empty or missing. */
  async take(queue: string): Promise<Delivery | null> {
    const taken = await this.run(async (channel) => {
      const message: GetMessage | false = await channel.get(queue, { noAck: false });
      return message ? new ChannelDelivery(channel, message as unknown as ConsumeMessage, null) : null;
    }).catch(nullIfNotFound);
    return taken;
  }

  async close(): Promise<void> {
    if (this.channel) {
      await closeQuietly(this.channel);
    }
  }

  private run<T>(operation: (channel: ConfirmChannel) => Promise<T>, declared?: string): Promise<T> {
    const result = this.tail.then(() => this.runNow(operation, declared));
    this.tail = result.catch(() => undefined);
    return result;
  }

  private async runNow<T>(operation: (channel: ConfirmChannel) => Promise<T>, declared?: string): Promise<T> {
    const channel = await this.open();
    this.lastError = null;
    try {
      return await withTimeout(operation(channel));
    } catch (error) {
      if (error instanceof BrokerAwayError) {
        this.abandon(channel);
      }
      throw this.explain(error as Error & { code?: number }, declared);
    }
  }

  /** A channel answers in order: behind a question that was never answered, no other would be. */
  private abandon(channel: ConfirmChannel): void {
    if (this.channel === channel) {
      this.channel = null;
    }
    void closeQuietly(channel);
  }

  private async open(): Promise<ConfirmChannel> {
    if (this.channel) {
      return this.channel;
    }
    if (!this.link.model) {
      throw new BrokerAwayError(
        `no connection to the broker${this.link.lastError ? `: ${this.link.lastError}` : ''}`,
      );
    }
    const channel = await withTimeout(this.link.model.createConfirmChannel());
    channel.on('error', (error: Error & { code?: number }) => {
      this.lastError = error;
    });
    channel.on('close', () => {
      if (this.channel === channel) {
        this.channel = null;
      }
    });
    channel.on('handler-error', (error: Error) => this.logger.error(error.stack));
    this.channel = channel;
    return channel;
  }

  private explain(error: Error & { code?: number }, declared?: string): Error {
    const cause = this.lastError ?? error;
    if (cause.code === 406 && declared) {
      return new TopologyConflictError(
        `expected to declare ${declared}, but the broker has it otherwise: ${cause.message}. ` +
          'Delete it there (after draining it), or set AMQP_PREFIX so that this installation has names of its own.',
      );
    }
    return cause;
  }
}

function nullIfNotFound(error: Error & { code?: number }): null {
  if (error.code === 404) {
    return null;
  }
  throw error;
}

async function withTimeout<T>(operation: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new BrokerAwayError(`the broker did not answer within ${OPERATION_TIMEOUT_MS} ms`)),
      OPERATION_TIMEOUT_MS,
    );
  });
  try {
    return await Promise.race([operation, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
