import type { LoggerService } from '@nestjs/common';
import type { QueueDepth } from './broker-admin.js';
import type { Consumer } from './consumer.js';

export interface ConsumerWatchOptions {
  consumers: Iterable<Consumer>;
  /** Null when there is no such queue. */
  depth: (queue: string) => Promise<QueueDepth | null>;
  logger: LoggerService;
}

const LOOK_MS = 2_000;

/**
 * Holds what our consumers believe against what the broker says. A queue that is deleted and declared again within
 * milliseconds can leave its consumer without the cancel it is owed (seen on RabbitMQ 3.10 with quorum queues): its
 * channel is open, nothing is wrong, and nothing ever comes. Whoever finds itself there consumes afresh.
 */
export class ConsumerWatch {
  private timer: NodeJS.Timeout | null = null;
  private stopped = false;

  constructor(private readonly options: ConsumerWatchOptions) {}

  start(): this {
    this.timer = setTimeout(() => {
      void this.look().finally(() => {
        if (!this.stopped) {
          this.start();
        }
      });
    }, LOOK_MS);
    return this;
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer ?? undefined);
  }

  private async look(): Promise<void> {
    const { consumers, depth, logger } = this.options;
    for (const consumer of consumers) {
      const believed = consumer.subscription;
      if (believed === null) {
        continue;
      }
      try {
        const found = await depth(believed.queue);
        // What began to consume while we looked is not what we looked for.
        if (isDeaf(found) && consumer.subscription?.tag === believed.tag) {
          logger.warn(`${believed.queue} has no consumer by the broker's account: consuming it afresh`);
          await consumer.recycle();
        }
      } catch (error) {
        logger.debug?.(`${believed.queue} could not be looked at: ${(error as Error).message}`);
      }
    }
  }
}

/** Ours is not among its consumers: it has none, or is not there at all. */
function isDeaf(found: QueueDepth | null): boolean {
  return found === null || found.consumers === 0;
}
