import { Logger } from '@nestjs/common';
import type { OutgoingMessage, PublishOutcome } from '../messaging/publisher.js';
import { REPORTS_TYPE, type TaskReport } from '../queue/contracts/reports.js';
import { HEADERS, WIRE_VERSION } from '../queue/contracts/wire.js';
import { SingleFlight } from '../queue/single-flight.js';
import { RESULTS_KEY } from '../queue/topology.js';

export interface OutboxOptions {
  workerId: string;
  incarnation: string;
  exchange: string;
  publish: (message: OutgoingMessage) => Promise<PublishOutcome>;
}

const RETRY_MS = 1_000;
/** A batch is closed before it grows beyond this. */
const BATCH_BYTES = 1_048_576;
const BATCH_ITEMS = 200;
/**
 * A task that ends sooner than this is never announced as running: its end says when it began. Most tasks are short,
 * and announcing each would double the messages and make its end wait for the announcement's confirm.
 */
const ANNOUNCE_AFTER_MS = 25;

/**
 * Reports on their way to the orchestrator. While a batch waits for its confirm the next one gathers. A batch that
 * was not confirmed or found no queue is published again under the same id until it is: what has been done is not
 * lost because the broker was away.
 */
export class Outbox {
  private readonly logger = new Logger(Outbox.name);
  private readonly flights: SingleFlight<string, void>;
  /** Tasks that run and have not been announced, oldest first: by execution and attempt. */
  private readonly unannounced = new Map<string, { report: TaskReport; sinceMs: number }>();
  private announceTimer: NodeJS.Timeout | null = null;
  private sent = 0;
  private abandoned = false;

  constructor(private readonly options: OutboxOptions) {
    this.flights = new SingleFlight(async (texts) => {
      await Promise.all(batchesOf(texts).map((batch) => this.send(batch)));
      return texts.map((): void => undefined);
    }, BATCH_ITEMS);
  }

  /** Says that a task runs, if it still does in a moment. */
  started(report: TaskReport): void {
    this.unannounced.set(keyOf(report.executionId, report.attempt), { report, sinceMs: performance.now() });
    this.announceTimer ??= setTimeout(() => this.announce(), ANNOUNCE_AFTER_MS);
  }

  /** @param text JSON text of the report that ends the attempt. Resolves when the broker has confirmed it. */
  ended(executionId: string, attempt: number, text: string): Promise<void> {
    this.unannounced.delete(keyOf(executionId, attempt));
    return this.flights.add(text);
  }

  /** Resolves when everything is confirmed. */
  idle(): Promise<void> {
    return this.flights.idle();
  }

  /** Stops trying: the process ends. What was not confirmed is delivered to somebody else. */
  abandon(): void {
    this.abandoned = true;
  }

  /** One timer for all: announces what has run long enough, and looks again when the next one will have. */
  private announce(): void {
    this.announceTimer = null;
    const now = performance.now();
    for (const [key, { report, sinceMs }] of this.unannounced) {
      const restMs = sinceMs + ANNOUNCE_AFTER_MS - now;
      if (restMs > 0) {
        this.announceTimer = setTimeout(() => this.announce(), restMs);
        return;
      }
      this.unannounced.delete(key);
      this.flights.add(JSON.stringify(report)).catch((error: Error) => this.logger.debug(error.message));
    }
  }

  private async send(texts: string[]): Promise<void> {
    const { workerId, incarnation, exchange, publish } = this.options;
    const head = JSON.stringify({ workerId, incarnation });
    const message: OutgoingMessage = {
      exchange,
      routingKey: RESULTS_KEY,
      type: REPORTS_TYPE,
      messageId: `${workerId}:${incarnation}:${++this.sent}`,
      headers: { [HEADERS.schema]: WIRE_VERSION },
      content: Buffer.from(`${head.slice(0, -1)},"reports":[${texts.join(',')}]}`),
    };
    while (!this.abandoned) {
      try {
        if ((await publish(message)) === 'routed') {
          return;
        }
        this.logger.warn(`no queue takes results at present; trying again`);
      } catch (error) {
        this.logger.warn(
          `${texts.length} reports are not confirmed: ${(error as Error).message}; trying again`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
    throw new Error('the worker ended before its reports were confirmed');
  }
}

function keyOf(executionId: string, attempt: number): string {
  return `${executionId}:${attempt}`;
}

/** Cuts a list of texts so that no batch exceeds `BATCH_BYTES`, unless a single text does. */
function batchesOf(texts: string[]): string[][] {
  const batches: string[][] = [];
  let sizeBytes = Infinity;
  for (const text of texts) {
    const textBytes = Buffer.byteLength(text);
    if (sizeBytes + textBytes > BATCH_BYTES) {
      batches.push([]);
      sizeBytes = 0;
    }
    batches.at(-1)!.push(text);
    sizeBytes += textBytes;
  }
  return batches;
}
