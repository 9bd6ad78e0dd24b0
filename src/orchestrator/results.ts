import { Injectable, Logger } from '@nestjs/common';
import type { Consumer, Delivery } from '../messaging/consumer.js';
import { MessagingService } from '../messaging/messaging.service.js';
import {
  INTERRUPTED_CODE,
  REPORTS_TYPE,
  type ReportBatchMessage,
  type TaskReport,
} from '../queue/contracts/reports.js';
import { decode } from '../queue/contracts/wire.js';
import { RecentKeys } from '../queue/recent-keys.js';
import { QueueManagementService } from '../queue/queue-management.service.js';
import { Leadership } from './leadership.js';
import { Recorder } from './recorder.js';

const PREFETCH = 100;
const REQUEUE_PAUSE_MS = 1_000;
/** How many messages are remembered, in case they come again. */
const MEMORY = 2_000;
/** After these the same attempt may be with the same worker again. */
const GIVEN_BACK: ReadonlySet<string> = new Set(['handed_back', 'snoozed']);

/**
 * Takes in what workers report. A batch is acked only after everything in it is on record (or refused by the record
 * as stale), so a crash at any moment means that it is delivered again, and recording again changes nothing.
 */
@Injectable()
export class Results {
  private readonly logger = new Logger(Results.name);
  private consumer: Consumer | null = null;
  private readonly processing = new Set<Promise<void>>();
  private readonly recorded = new RecentKeys(MEMORY);

  constructor(
    private readonly messaging: MessagingService,
    private readonly queues: QueueManagementService,
    private readonly recorder: Recorder,
    private readonly leadership: Leadership,
  ) {}

  start(): void {
    this.consumer = this.messaging.consume({
      queue: this.queues.names.results(),
      prefetch: PREFETCH,
      priority: this.leadership.epoch,
      purpose: 'results consumer',
      onDelivery: (delivery) => this.receive(delivery),
    });
  }

  async stop(): Promise<void> {
    const consumer = this.consumer;
    this.consumer = null;
    if (consumer) {
      await consumer.pause().catch(() => undefined);
      await Promise.all(this.processing);
      await this.messaging.stopConsuming(consumer);
    }
  }

  private receive(delivery: Delivery): void {
    const done = this.process(delivery).finally(() => this.processing.delete(done));
    this.processing.add(done);
  }

  /** Not an `async` method: that would hold the parsed reports until all is on record. */
  private process(delivery: Delivery): Promise<void> {
    let batch: ReportBatchMessage;
    try {
      batch = decode(delivery, REPORTS_TYPE).message;
    } catch (error) {
      return this.bury(delivery, (error as Error).message);
    }
    const key = keyOf(delivery, batch);
    const isUrgent = batch.reports.some(isGivenBack);
    return this.settle(delivery, { workerId: batch.workerId, key, isUrgent }, this.record(delivery, batch));
  }

  private record(delivery: Delivery, batch: ReportBatchMessage): Promise<unknown> {
    // A successor of this worker's name speaks of attempts whose true end may have come just before: that goes first.
    const earlier = batch.reports.some(isInterruption) ? [...this.processing] : [];
    return Promise.all(earlier).then(() =>
      this.recorder.record(this.newsOf(delivery, batch), batch.workerId),
    );
  }

  private async settle(
    delivery: Delivery,
    { workerId, key, isUrgent }: { workerId: string; key: string; isUrgent: boolean },
    recorded: Promise<unknown>,
  ): Promise<void> {
    try {
      await recorded;
      if (delivery.messageId !== undefined) {
        this.recorded.add(key);
      }
      delivery.ack(isUrgent);
    } catch (error) {
      await this.notRecorded(delivery, workerId, error as Error);
    }
  }

  /**
   * A worker that misses a confirm publishes its message again. To record an end twice changes nothing, but what was given
   * back may have been assigned to the same worker since.
   */
  private newsOf(delivery: Delivery, batch: ReportBatchMessage): TaskReport[] {
    return this.recorded.has(keyOf(delivery, batch))
      ? batch.reports.filter((report) => !isGivenBack(report))
      : batch.reports;
  }

  /**
   * A record that is away ends the term or the wait before this is reached: the batch comes again to the next leader,
   * and the record takes each end once. Anything else is the message's own fault.
   */
  private async notRecorded(delivery: Delivery, workerId: string, error: Error): Promise<void> {
    if (error.name === 'StoreUnavailableError') {
      this.logger.warn(`a batch of ${workerId} is not on record yet: ${error.message}`);
      setTimeout(() => delivery.requeue(), REQUEUE_PAUSE_MS);
    } else {
      await this.bury(delivery, `its reports cannot be recorded: ${error.message}`);
    }
  }

  private async bury(delivery: Delivery, reason: string): Promise<void> {
    await this.queues.bury(delivery, this.queues.names.results(), reason);
  }
}

function keyOf({ messageId }: Delivery, { workerId, incarnation }: ReportBatchMessage): string {
  return `${workerId} ${incarnation} ${messageId}`;
}

function isGivenBack({ kind }: TaskReport): boolean {
  return GIVEN_BACK.has(kind);
}

function isInterruption({ kind, error }: TaskReport): boolean {
  return kind === 'failed' && error?.code === INTERRUPTED_CODE;
}
