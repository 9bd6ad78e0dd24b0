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

interface Entry {
  executionId: string;
  attempt: number;
  /** JSON text of the report; null once a later report of the same attempt has made it superfluous. */
  text: string | null;
}

const RETRY_MS = 1_000;
/** A batch is closed before it grows beyond this. */
const BATCH_BYTES = 1_048_576;
const BATCH_ITEMS = 200;

/**
 * Reports on their way to the orchestrator. While a batch waits for its confirm the next one gathers. A batch that
 * was not confirmed or found no queue is published again under the same id until it is: what has been done is not
 * lost because the broker was away.
 */
export class Outbox {
  private readonly logger = new Logger(Outbox.name);
  private readonly flights: SingleFlight<Entry, void>;
  private readonly starts = new Map<string, Entry>();
  private sent = 0;
  private abandoned = false;

  constructor(private readonly options: OutboxOptions) {
    this.flights = new SingleFlight(async (entries) => {
      await this.send(entries);
      return entries.map((): void => undefined);
    }, BATCH_ITEMS);
  }

  /** Says that a task runs. Left out if the task ends before this has gone. */
  started(report: TaskReport): void {
    const entry = { executionId: report.executionId, attempt: report.attempt, text: JSON.stringify(report) };
    const key = keyOf(entry);
    this.starts.set(key, entry);
    void this.flights.add(entry).finally(() => this.starts.delete(key));
  }

  /** @param text JSON text of the report that ends the attempt. Resolves when the broker has confirmed it. */
  ended(executionId: string, attempt: number, text: string): Promise<void> {
    const entry = { executionId, attempt, text };
    const start = this.starts.get(keyOf(entry));
    if (start) {
      start.text = null;
    }
    return this.flights.add(entry);
  }

  /** Resolves when everything is confirmed. */
  idle(): Promise<void> {
    return this.flights.idle();
  }

  /** Stops trying: the process ends. What was not confirmed is delivered to somebody else. */
  abandon(): void {
    this.abandoned = true;
  }

  private async send(entries: Entry[]): Promise<void> {
    const texts = entries.flatMap(({ text }) => (text === null ? [] : [text]));
    entries.forEach((entry) => this.starts.delete(keyOf(entry)));
    await Promise.all(batchesOf(texts).map((batch) => this.sendBatch(batch)));
  }

  private async sendBatch(texts: string[]): Promise<void> {
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

function keyOf({ executionId, attempt }: Entry): string {
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
