import { EventEmitter } from 'node:events';
import { Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import { type QueueDepth, TopologyConflictError } from '../messaging/broker-admin.js';
import type { Delivery } from '../messaging/consumer.js';
import { MessagingService } from '../messaging/messaging.service.js';
import type { OutgoingMessage, PublishOutcome } from '../messaging/publisher.js';
import { HEADERS, type Messages, type MessageType, WIRE_VERSION } from './contracts/wire.js';
import { CANCEL_TYPE, DRAIN_TYPE, REGISTER_TYPE } from './contracts/control.js';
import { TASK_TYPE, TASKS_TYPE } from './contracts/task.js';
import { PRIORITIES, type Priority } from './priority.js';
import {
  encodeTask,
  encodeTaskBatch,
  type RecordedTask,
  type TaskEnvelope,
  taskHeaders,
  taskMessageId,
} from './task-encoding.js';
import { Names, topology, workerTopology } from './topology.js';
import { nextWatermark, type WatermarkState } from './watermark.js';

export interface QueueHealth {
  name: string;
  /** Messages that are ready. */
  depth: number;
  /** Tasks that wait with this process, the leader, and have no message; the watermark is judged on the sum. */
  inHand: number;
  consumers: number;
  priority?: Priority;
  watermark: WatermarkState;
}

/** A task that has its worker. */
export interface AssignedTask {
  task: TaskEnvelope;
  /** The bytes of its `TaskMessage`. */
  content: Buffer;
  assignmentSeq: number;
}

/** A message taken out of circulation, in the shape in which `DeadLetter` keeps it. */
export interface DeadMessage {
  exchange: string;
  routingKey: string;
  messageType: string | null;
  executionId: string | null;
  headers: Record<string, unknown>;
  /** Base64. */
  body: string;
}

export const REASON_HEADER = 'x-reason';
const SOURCE_QUEUE_HEADER = 'x-source-queue';
const SOURCE_EXCHANGE_HEADER = 'x-source-exchange';
const SOURCE_KEY_HEADER = 'x-source-routing-key';
const SOURCE_TYPE_HEADER = 'x-source-type';
/** Broker headers that are wrong once a message is published again: RabbitMQ misreads them before 4.x. */
const STALE_HEADER = /^x-(.*death.*|delivery-count|acquired-count)$/;
const DEPTH_AGE_MS = 500;
const DECLARE_RETRY_MS = 1_000;
const BURY_RETRY_MS = 1_000;
const KEPT_HEADERS_BYTES = 32_768;

/**
 * The queues: declares them, puts tasks and control messages on them, measures them, and takes what cannot be
 * understood out of circulation with its reason.
 */
@Injectable()
export class QueueManagementService
  extends EventEmitter<{ declared: []; conflict: [Error] }>
  implements OnApplicationBootstrap
{
  readonly names: Names;
  /** How many tasks of a priority wait with this process without a message. Set by who holds them. */
  inHand: (priority: Priority) => number = () => 0;
  private readonly logger = new Logger(QueueManagementService.name);
  private readonly watermarks = new Map<string, WatermarkState>();
  private declaring: Promise<void> | null = null;
  private readonly declaringFor = new Map<string, Promise<void>>();
  private measured: { at: number; health: Promise<QueueHealth[]> } | null = null;
  private declaredOnce = false;
  private controlSeq = 0;

  constructor(
    private readonly config: OrchestratorConfigService,
    private readonly messaging: MessagingService,
  ) {
    super();
    this.names = new Names(config.amqpPrefix);
  }

  onApplicationBootstrap(): void {
    this.messaging.onMissing = () => this.declare();
    this.messaging.onConnect(() => void this.declareOrReport());
  }

  /** True once the topology stood; consumers wait for it. */
  get isDeclared(): boolean {
    return this.declaredOnce;
  }

  /** Declares everything that stands. Calls at the same time share one run. */
  declare(): Promise<void> {
    this.declaring ??= this.messaging.admin.declare(topology(this.names)).finally(() => {
      this.declaring = null;
    });
    return this.declaring;
  }

  /** Calls at the same time share one run: a worker that waits for its queue registers again and again. */
  declareWorkerQueue(workerId: string): Promise<void> {
    let declaring = this.declaringFor.get(workerId);
    if (!declaring) {
      declaring = this.messaging.admin
        .declare(workerTopology(this.names, workerId))
        .finally(() => this.declaringFor.delete(workerId));
      this.declaringFor.set(workerId, declaring);
    }
    return declaring;
  }

  // ---- tasks ---------------------------------------------------------------------------------------------------

  /** Puts a task on the ready queue of its priority. */
  publishFlowExecution(task: RecordedTask): Promise<PublishOutcome> {
    return this.messaging.publish({
      exchange: this.names.ready(),
      routingKey: task.priority,
      type: TASK_TYPE,
      messageId: taskMessageId(task.executionId, task.attempt, 'ready'),
      correlationId: task.executionId,
      headers: taskHeaders(task),
      content: encodeTask(task),
    });
  }

  /**
   * Puts tasks on one worker's queue, in one message.
   * @param tasks 1 or more, the last with the highest `assignmentSeq`; more than one only for a worker that takes batches
   */
  publishAssignment(
    workerId: string,
    epoch: number,
    tasks: readonly AssignedTask[],
  ): Promise<PublishOutcome> {
    const { task: first, content } = tasks[0]!;
    const isBatch = tasks.length > 1;
    return this.messaging.publish({
      exchange: this.names.assign(),
      routingKey: workerId,
      type: isBatch ? TASKS_TYPE : TASK_TYPE,
      messageId: taskMessageId(first.executionId, first.attempt, 'assign'),
      correlationId: isBatch ? undefined : first.executionId,
      headers: {
        ...(isBatch ? { [HEADERS.schema]: WIRE_VERSION } : taskHeaders(first)),
        [HEADERS.epoch]: epoch,
        [HEADERS.assignmentSeq]: tasks.at(-1)!.assignmentSeq,
      },
      content: isBatch ? encodeTaskBatch(tasks.map(contentOf)) : content,
    });
  }

  // ---- control -------------------------------------------------------------------------------------------------

  /**
   * Tells one worker something. Straight into its queue (the default exchange routes by queue name), since a worker
   * that was given up has no binding any more and must still hear that it has to register. `unroutable` = no queue.
   */
  sendControl<T extends typeof CANCEL_TYPE | typeof DRAIN_TYPE | typeof REGISTER_TYPE>(
    workerId: string,
    type: T,
    message: Messages[T],
  ): Promise<PublishOutcome> {
    return this.control('', this.names.workerQueue(workerId), type, message);
  }

  /** Asks every worker that has a queue to register: how a starting orchestrator meets a pool that is already there. */
  async askAllToRegister(): Promise<void> {
    await this.control(this.names.control(), '', REGISTER_TYPE, {});
  }

  private control(
    exchange: string,
    routingKey: string,
    type: MessageType,
    message: Messages[MessageType],
  ): Promise<PublishOutcome> {
    return this.messaging.publish({
      exchange,
      routingKey,
      type,
      messageId: `${this.config.instanceId}:control:${++this.controlSeq}`,
      headers: { [HEADERS.schema]: WIRE_VERSION },
      content: Buffer.from(JSON.stringify(message)),
    });
  }

  // ---- dead letters --------------------------------------------------------------------------------------------

  /**
   * Moves a message that cannot be handled to `flow.dlq` with its reason, then acks it: once, never in a loop. Never
   * rejects: a message that cannot be moved now goes back to its queue after a pause.
   */
  async bury(delivery: Delivery, queue: string, reason: string): Promise<void> {
    this.logger.warn(
      `${queue}: message ${delivery.messageId ?? 'without an id'} goes to the dead letters: ${reason}`,
    );
    try {
      if ((await this.messaging.publish(this.deadLetter(delivery, queue, reason))) === 'unroutable') {
        await this.declare();
        throw new Error(`${this.names.deadLetterQueue()} was missing`);
      }
      delivery.ack(true);
    } catch (error) {
      this.logger.warn(`${queue}: it goes back there for the moment: ${(error as Error).message}`);
      setTimeout(() => delivery.requeue(), BURY_RETRY_MS);
    }
  }

  private deadLetter(delivery: Delivery, queue: string, reason: string): OutgoingMessage {
    const headers = withoutStaleHeaders(delivery.headers);
    // All headers have to fit into one frame, ours among them.
    const fits = JSON.stringify(headers).length <= KEPT_HEADERS_BYTES;
    return {
      exchange: this.names.deadLetterExchange(),
      routingKey: '',
      type: 'dead-letter',
      messageId: `${delivery.messageId?.slice(0, 200) ?? 'unknown'}:dead`,
      correlationId: delivery.correlationId,
      headers: {
        ...(fits && headers),
        [REASON_HEADER]: reason.slice(0, 1_000),
        [SOURCE_QUEUE_HEADER]: queue,
        [SOURCE_EXCHANGE_HEADER]: delivery.exchange,
        [SOURCE_KEY_HEADER]: delivery.routingKey,
        [SOURCE_TYPE_HEADER]: delivery.type ?? '',
      },
      content: delivery.content,
    };
  }

  /** Reads a delivery from `flow.dlq`, whether we buried it (our headers) or the broker did (`x-death`). */
  readDeadLetter(delivery: Delivery): DeadMessage & { source: string; reason: string } {
    const headers = delivery.headers as Record<string, unknown>;
    const [death] =
      (headers['x-death'] as
        { queue?: string; reason?: string; exchange?: string; 'routing-keys'?: string[] }[] | undefined) ??
      [];
    const text = (name: string): string | undefined =>
      typeof headers[name] === 'string' ? headers[name] : undefined;
    return {
      source: text(SOURCE_QUEUE_HEADER) ?? death?.queue ?? 'unknown',
      reason: text(REASON_HEADER) ?? `the broker dead-lettered it: ${death?.reason ?? 'no reason given'}`,
      exchange: text(SOURCE_EXCHANGE_HEADER) ?? death?.exchange ?? '',
      routingKey: text(SOURCE_KEY_HEADER) ?? death?.['routing-keys']?.[0] ?? '',
      messageType: text(SOURCE_TYPE_HEADER) || delivery.type || null,
      executionId: delivery.correlationId ?? null,
      headers: withoutStaleHeaders(headers),
      body: delivery.content.toString('base64'),
    };
  }

  /** Publishes a dead letter where it was first published. */
  republish(letter: DeadMessage & { id: string }): Promise<PublishOutcome> {
    return this.messaging.publish({
      exchange: letter.exchange,
      routingKey: letter.routingKey,
      type: letter.messageType ?? '',
      messageId: `${letter.id}:replay`,
      correlationId: letter.executionId ?? undefined,
      headers: letter.headers,
      content: Buffer.from(letter.body, 'base64'),
    });
  }

  // ---- depth ---------------------------------------------------------------------------------------------------

  /** Depth, tasks in hand, consumers and watermark of every standing queue; at most half a second old. */
  queueHealth(): Promise<QueueHealth[]> {
    const now = performance.now();
    if (!this.measured || now - this.measured.at > DEPTH_AGE_MS) {
      const health = this.measure();
      this.measured = { at: now, health };
      health.catch(() => {
        this.measured = null;
      });
    }
    return this.measured.health;
  }

  /** Null when the queue does not exist. */
  depth(queue: string): Promise<QueueDepth | null> {
    return this.messaging.admin.depth(queue);
  }

  private async measure(): Promise<QueueHealth[]> {
    const ready = PRIORITIES.map((priority) => ({ name: this.names.readyQueue(priority), priority }));
    const others = [{ name: this.names.results() }, { name: this.names.deadLetterQueue() }];
    const queues: { name: string; priority?: Priority }[] = [...ready, ...others];
    const health: QueueHealth[] = [];
    for (const queue of queues) {
      const depth = (await this.depth(queue.name)) ?? { messages: 0, consumers: 0 };
      const inHand = queue.priority === undefined ? 0 : this.inHand(queue.priority);
      const watermark = nextWatermark(
        this.watermarks.get(queue.name) ?? 'normal',
        depth.messages + inHand,
        this.config.queueLowWaterMark,
        this.config.queueHighWaterMark,
      );
      this.watermarks.set(queue.name, watermark);
      health.push({ ...queue, depth: depth.messages, inHand, consumers: depth.consumers, watermark });
    }
    return health;
  }

  private async declareOrReport(): Promise<void> {
    try {
      await this.declare();
      this.declaredOnce = true;
      this.emit('declared');
    } catch (error) {
      if (error instanceof TopologyConflictError) {
        this.emit('conflict', error);
      } else {
        this.logger.warn(`the queues could not be declared: ${(error as Error).message}; trying again`);
        setTimeout(() => void this.declareOrReport(), DECLARE_RETRY_MS).unref();
      }
    }
  }
}

function withoutStaleHeaders(headers: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !STALE_HEADER.test(name)));
}

function contentOf({ content }: AssignedTask): Buffer {
  return content;
}
