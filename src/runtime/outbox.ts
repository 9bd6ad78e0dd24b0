import { Logger } from '@nestjs/common';
import type { OutgoingMessage, PublishOutcome } from '../messaging/publisher.js';
import { REPORTS_TYPE } from '../queue/contracts/reports.js';
import { HEADERS, WIRE_VERSION } from '../queue/contracts/wire.js';
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
const COMMA = ',';
const TAIL = ']}';

/** One message. */
interface Batch {
  texts: string[];
  /** Of the texts, each with a comma. */
  sizeBytes: number;
}

/** Reports that travel together. */
interface Flight {
  texts: string[];
  confirmed: Promise<unknown>;
}

/**
 * Reports on their way to the orchestrator. While some wait for their confirm the next ones gather. A batch that
 * was not confirmed or found no queue is published again under the same id until it is: what has been done is not
 * lost because the broker was away.
 */
export class Outbox {
  private readonly logger = new Logger(Outbox.name);
  private gathering: Flight | null = null;
  /** Resolves when the flight before the one that gathers has landed, well or not. */
  private landed: Promise<unknown> = Promise.resolve();
  private sent = 0;
  private abandoned = false;

  constructor(private readonly options: OutboxOptions) {}

  /** @param text JSON text of a report. The promise resolves when the broker has confirmed all that travel with it. */
  add(text: string): Promise<unknown> {
    this.gathering ??= this.gather();
    this.gathering.texts.push(text);
    return this.gathering.confirmed;
  }

  /** Resolves when everything is confirmed. */
  async idle(): Promise<void> {
    const { landed } = this;
    await landed;
    if (landed !== this.landed) await this.idle();
  }

  /** Stops trying: the process ends. What was not confirmed is delivered to somebody else. */
  abandon(): void {
    this.abandoned = true;
  }

  /** It leaves when the flight before it has landed; if that has, with all that is added in this turn. */
  private gather(): Flight {
    const texts: string[] = [];
    const confirmed = this.landed.then(() => this.fly(texts));
    this.landed = confirmed.catch(() => undefined);
    return { texts, confirmed };
  }

  private fly(texts: string[]): Promise<unknown> {
    this.gathering = null;
    return Promise.all(batchesOf(texts).map((batch) => this.send(this.messageOf(batch), batch.texts.length)));
  }

  private messageOf(batch: Batch): OutgoingMessage {
    const { workerId, incarnation, exchange } = this.options;
    const head = JSON.stringify({ workerId, incarnation });
    return {
      exchange,
      routingKey: RESULTS_KEY,
      type: REPORTS_TYPE,
      messageId: `${workerId}:${incarnation}:${++this.sent}`,
      headers: { [HEADERS.schema]: WIRE_VERSION },
      content: contentOf(`${head.slice(0, -1)},"reports":[`, batch),
    };
  }

  private async send(message: OutgoingMessage, reports: number): Promise<void> {
    while (!this.abandoned) {
      try {
        if ((await this.options.publish(message)) === 'routed') {
          return;
        }
        this.logger.warn(`no queue takes results at present; trying again`);
      } catch (error) {
        this.logger.warn(`${reports} reports are not confirmed: ${(error as Error).message}; trying again`);
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
    throw new Error('the worker ended before its reports were confirmed');
  }
}

/** Cuts a list of texts so that no batch exceeds `BATCH_ITEMS`, nor `BATCH_BYTES` unless a single text does. */
function batchesOf(texts: string[]): Batch[] {
  const batches: Batch[] = [];
  let batch: Batch | undefined;
  for (const text of texts) {
    const sizeBytes = Buffer.byteLength(text) + COMMA.length;
    if (
      batch === undefined ||
      batch.sizeBytes + sizeBytes > BATCH_BYTES ||
      batch.texts.length === BATCH_ITEMS
    ) {
      batches.push((batch = { texts: [], sizeBytes: 0 }));
    }
    batch.texts.push(text);
    batch.sizeBytes += sizeBytes;
  }
  return batches;
}

/** Each text is written once, to where it goes: joined to one long text first, all would be copied twice more. */
function contentOf(head: string, { texts, sizeBytes }: Batch): Buffer {
  const content = Buffer.allocUnsafe(Buffer.byteLength(head) + sizeBytes + TAIL.length - COMMA.length);
  let end = content.write(head);
  for (const [index, text] of texts.entries()) {
    if (index > 0) end += content.write(COMMA, end);
    end += content.write(text, end);
  }
  content.write(TAIL, end);
  return content;
}
