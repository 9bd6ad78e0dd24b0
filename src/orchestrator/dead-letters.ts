import { Injectable, Logger } from '@nestjs/common';
import type { Consumer, Delivery } from '../messaging/consumer.js';
import { MessagingService } from '../messaging/messaging.service.js';
import { QueueManagementService } from '../queue/queue-management.service.js';
import { SingleFlight } from '../queue/single-flight.js';
import { Leadership } from './leadership.js';
import { ExecutionStore, type NewDeadLetter } from '../store/execution-store.js';

const PREFETCH = 50;
const STORE_RETRY_MS = 1_000;

/**
 * Moves dead letters from `flow.dlq` into the record, where they can be listed, searched and replayed one by one: a
 * queue offers none of that. While the record is away they are safe in the queue.
 */
@Injectable()
export class DeadLetters {
  private readonly logger = new Logger(DeadLetters.name);
  private readonly adding: SingleFlight<NewDeadLetter, void>;
  private consumer: Consumer | null = null;

  constructor(
    private readonly messaging: MessagingService,
    private readonly queues: QueueManagementService,
    private readonly leadership: Leadership,
    store: ExecutionStore,
  ) {
    this.adding = new SingleFlight(async (letters) => {
      await store.addDeadLetters(letters);
      return letters.map((): void => undefined);
    });
  }

  start(): void {
    this.consumer = this.messaging.consume({
      queue: this.queues.names.deadLetterQueue(),
      prefetch: PREFETCH,
      priority: this.leadership.epoch,
      purpose: 'dead letter consumer',
      onDelivery: (delivery) => void this.keep(delivery),
    });
  }

  async stop(): Promise<void> {
    const consumer = this.consumer;
    this.consumer = null;
    if (consumer) {
      await this.messaging.stopConsuming(consumer);
    }
  }

  private async keep(delivery: Delivery): Promise<void> {
    try {
      await this.adding.add(this.queues.readDeadLetter(delivery));
      delivery.ack(true);
    } catch (error) {
      this.logger.warn(`a dead letter stays in its queue: ${(error as Error).message}`);
      setTimeout(() => delivery.requeue(), STORE_RETRY_MS);
    }
  }
}
