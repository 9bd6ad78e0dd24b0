import type { LoggerService } from '@nestjs/common';
import type { Channel, ChannelModel, ConfirmChannel } from 'amqplib';
import type { BrokerLink } from './broker-link.js';

export interface ChannelKeeperOptions {
  link: BrokerLink;
  /** For log lines. */
  purpose: string;
  logger: LoggerService;
  /** Prepares a new channel (prefetch, consume …). If it throws, the channel is closed and made again later. */
  setup: (channel: ConfirmChannel) => Promise<void>;
  /** The channel is gone; whatever was open on it has to be forgotten. */
  onLost?: () => void;
  /** The broker said 404: an exchange or a queue that we use is missing. Awaited before the channel is made again. */
  onNotFound?: () => Promise<void>;
}

const FIRST_DELAY_MS = 50;
const LONGEST_DELAY_MS = 2_000;
/** A channel that lived this long was sound: the next failure starts with the shortest delay again. */
const SOUND_AFTER_MS = 2_000;
const CLOSE_TIMEOUT_MS = 2_000;

/**
 * Keeps one confirm channel open on a link: makes it again when the connection returns and when the broker closed
 * the channel alone, with exponential backoff and jitter. "Alive but not consuming" cannot last.
 */
export class ChannelKeeper {
  channel: ConfirmChannel | null = null;
  private stopped = false;
  private opening = false;
  private failures = 0;
  private openedAt = 0;
  private timer: NodeJS.Timeout | null = null;
  private readonly onUp = (): void => this.schedule(0);

  constructor(private readonly options: ChannelKeeperOptions) {}

  start(): this {
    this.options.link.on('up', this.onUp);
    if (this.options.link.isUp) {
      this.schedule(0);
    }
    return this;
  }

  /** Closes the channel and makes a new one: unacked deliveries go back to their queue. */
  async recycle(): Promise<void> {
    const channel = this.channel;
    if (channel) {
      await closeQuietly(channel);
    }
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.options.link.off('up', this.onUp);
    if (this.timer) {
      clearTimeout(this.timer);
    }
    const channel = this.channel;
    this.channel = null;
    if (channel) {
      await closeQuietly(channel);
    }
  }

  private schedule(delayMs: number): void {
    if (this.stopped || this.timer) {
      return;
    }
    this.timer = setTimeout(() => {
      this.timer = null;
      void this.open();
    }, delayMs);
  }

  private async open(): Promise<void> {
    const model = this.options.link.model;
    if (this.stopped || this.opening || this.channel || !model) {
      return;
    }
    this.opening = true;
    try {
      await this.openOn(model);
    } catch (error) {
      this.failures++;
      this.options.logger.debug?.(`${this.options.purpose}: no channel yet: ${(error as Error).message}`);
      this.schedule(this.backoffMs());
    } finally {
      this.opening = false;
    }
  }

  private async openOn(model: ChannelModel): Promise<void> {
    const channel = await model.createConfirmChannel();
    let closed = false;
    let notFound = false;
    channel.on('error', (error: Error & { code?: number }) => {
      notFound = error.code === 404;
      const line = `${this.options.purpose}: the broker closed the channel: ${error.message}`;
      // A 404 again and again is a worker that waits for its orchestrator: worth a line once.
      if (notFound && this.failures > 0) {
        this.options.logger.debug?.(line);
      } else {
        this.options.logger.warn(line);
      }
    });
    channel.on('close', () => {
      closed = true;
      void this.lost(channel, notFound);
    });
    try {
      await this.options.setup(channel);
    } catch (error) {
      if (notFound) {
        await this.options.onNotFound?.();
      }
      if (!closed) {
        await closeQuietly(channel);
      }
      throw error;
    }
    if (this.stopped) {
      await closeQuietly(channel);
    } else if (closed) {
      this.failures++;
      this.schedule(this.backoffMs());
    } else {
      this.channel = channel;
      this.openedAt = performance.now();
    }
  }

  private async lost(channel: ConfirmChannel, notFound: boolean): Promise<void> {
    if (this.channel !== channel) {
      return;
    }
    this.channel = null;
    this.failures = performance.now() - this.openedAt > SOUND_AFTER_MS ? 0 : this.failures + 1;
    this.options.onLost?.();
    if (notFound) {
      await this.options.onNotFound?.().catch((error: Error) => {
        this.options.logger.warn(`${this.options.purpose}: ${error.message}`);
      });
    }
    this.schedule(this.backoffMs());
  }

  private backoffMs(): number {
    const ceilingMs = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(this.failures, 10));
    return ceilingMs * (0.5 + Math.random() / 2);
  }
}

/**
 * Closing a channel that is already closed is what we wanted; anything else is worth nothing more than that. If the
 * connection dies first, the answer never comes: waiting for it has a bound.
 */
export async function closeQuietly(channel: Channel): Promise<void> {
  await Promise.race([
    channel.close().catch(() => undefined),
    new Promise((resolve) => channel.once('close', resolve)),
    new Promise((resolve) => setTimeout(resolve, CLOSE_TIMEOUT_MS).unref()),
  ]);
}
