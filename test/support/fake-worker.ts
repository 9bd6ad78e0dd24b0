import { randomUUID } from 'node:crypto';
import { type ChannelModel, type ConfirmChannel, connect, type ConsumeMessage } from 'amqplib';
import type { TaskReport } from '../../src/queue/contracts/reports.js';
import type { TaskBatchMessage, TaskMessage } from '../../src/queue/contracts/task.js';
import type { System } from './system.js';
import { heartbeat, registration } from './workers.js';

/** Node types that every worker of ours has. */
const NODE_TYPES = ['data-filter', 'data-transform', 'delay', 'http-request', 'log', 'map'];
const HEARTBEAT_MS = 500;

/** A message as bytes, so that a test can send what no client of ours would. */
export interface RawMessage {
  type?: string;
  content?: Buffer | string;
  headers?: Record<string, unknown>;
  correlationId?: string;
  messageId?: string;
}

/** An AMQP client of the test's own, which confirms everything it publishes. */
export class AmqpClient {
  protected constructor(
    protected readonly connection: ChannelModel,
    readonly channel: ConfirmChannel,
  ) {
    connection.on('error', () => undefined);
    channel.on('error', () => undefined);
  }

  static async open(system: System): Promise<AmqpClient> {
    const connection = await connect(system.amqpUrl, { noDelay: true });
    return new AmqpClient(connection, await connection.createConfirmChannel());
  }

  /** Resolves when the broker has confirmed it. */
  publish(exchange: string, routingKey: string, message: RawMessage): Promise<void> {
    const { content = '{}', headers = { 'x-schema': 1 }, ...properties } = message;
    const options = { contentType: 'application/json', messageId: randomUUID(), ...properties, headers };
    return new Promise((resolve, reject) => {
      this.channel.publish(exchange, routingKey, Buffer.from(content), options, (error) =>
        error ? reject(error as Error) : resolve(),
      );
    });
  }

  async close(): Promise<void> {
    await this.connection.close().catch(() => undefined);
  }
}

export interface FakeTask {
  task: TaskMessage;
  redelivered: boolean;
  delivery: ConsumeMessage;
}

export interface FakeWorkerOptions {
  /** It takes `flow.tasks`. Default: it does not say. */
  takesBatches?: boolean;
  /** How many messages it takes unacked. Default: its slots and some more. */
  prefetch?: number;
}

/** A worker by the wire contract (docs/writing-a-worker.md) that does nothing by itself: the test speaks for it. */
export class FakeWorker extends AmqpClient {
  readonly incarnation = randomUUID();
  private readonly tasks: FakeTask[] = [];
  private beating: NodeJS.Timeout | null = null;
  private lastAssignmentSeq = 0;
  private readonly held = new Set<string>();
  /** Of each message with tasks: how many of them are not acked. */
  private readonly unacked = new Map<ConsumeMessage, number>();
  /** Of each message with tasks, in the order in which they came. */
  readonly messages: { type: string; tasks: number }[] = [];

  private constructor(
    connection: ChannelModel,
    channel: ConfirmChannel,
    private readonly system: System,
    readonly workerId: string,
    private readonly slots: number,
    private readonly options: FakeWorkerOptions,
  ) {
    super(connection, channel);
  }

  /** Joins the pool by the steps of the contract. A 404 (nothing is declared yet) closes the channel: a new one each time. */
  static async join(
    system: System,
    workerId: string,
    slots = 4,
    options: FakeWorkerOptions = {},
  ): Promise<FakeWorker> {
    const connection = await connect(system.amqpUrl, { noDelay: true });
    const queue = `flow.worker.${workerId}`;
    let worker: FakeWorker | undefined;
    await system.until(`${workerId} is registered and has a queue`, async () => {
      const channel = await connection.createConfirmChannel();
      worker = new FakeWorker(connection, channel, system, workerId, slots, options);
      await worker.register();
      await channel.checkQueue(queue);
      return (await system.api.get(`/orchestrator/workers/${workerId}`)).body.assignable === true;
    });
    await worker!.begin(queue);
    return worker!;
  }

  private async begin(queue: string): Promise<void> {
    await this.channel.prefetch(this.options.prefetch ?? this.slots + 16, false);
    await this.channel.consume(queue, (message) => this.receive(message));
    this.beating = setInterval(() => void this.beat(), HEARTBEAT_MS).unref();
  }

  async register(): Promise<void> {
    const { workerId, incarnation, slots } = this;
    const { takesBatches } = this.options;
    const message = registration({
      workerId,
      incarnation,
      slots,
      supportedNodeTypes: NODE_TYPES,
      heldExecutionIds: [...this.held],
      ...(takesBatches !== undefined && { takesBatches }),
    });
    await this.say('worker.registration', message);
  }

  /** The next task it was given, once there is one. */
  async nextTask(): Promise<FakeTask> {
    await this.system.until(`${this.workerId} is given a task`, async () => this.tasks.length > 0);
    return this.tasks.shift()!;
  }

  /** Resolves when the broker has confirmed them. */
  report(...reports: TaskReport[]): Promise<void> {
    const { workerId, incarnation } = this;
    const content = JSON.stringify({ workerId, incarnation, reports });
    return this.publish('flow.results', 'results', { type: 'task.reports', content });
  }

  /** The message goes with the last of its tasks. */
  ack({ task, delivery }: FakeTask): void {
    this.held.delete(task.executionId);
    const left = this.unacked.get(delivery)! - 1;
    this.unacked.set(delivery, left);
    if (left === 0) {
      this.unacked.delete(delivery);
      this.channel.ack(delivery);
    }
  }

  /** What kill -9 looks like from outside: the socket closes, nothing is said. */
  die(): void {
    this.stopBeating();
    (this.connection.connection as unknown as { stream: { destroy(): void } }).stream.destroy();
  }

  override async close(): Promise<void> {
    this.stopBeating();
    await super.close();
  }

  private stopBeating(): void {
    clearInterval(this.beating ?? undefined);
  }

  private receive(message: ConsumeMessage | null): void {
    const type = String(message?.properties.type);
    if (message && (type === 'flow.task' || type === 'flow.tasks')) {
      const headers = message.properties.headers as Record<string, number>;
      this.lastAssignmentSeq = Math.max(this.lastAssignmentSeq, headers['x-assignment-seq'] ?? 0);
      const body = JSON.parse(message.content.toString()) as TaskMessage | TaskBatchMessage;
      const tasks = 'tasks' in body ? body.tasks : [body];
      this.messages.push({ type, tasks: tasks.length });
      tasks.forEach(({ executionId }) => this.held.add(executionId));
      this.unacked.set(message, tasks.length);
      const { redelivered } = message.fields;
      this.tasks.push(...tasks.map((task) => ({ task, redelivered, delivery: message })));
    } else if (message) {
      this.channel.ack(message);
      this.register().catch(() => undefined);
    }
  }

  private async beat(): Promise<void> {
    const { workerId, incarnation, lastAssignmentSeq } = this;
    const heldExecutionIds = [...this.held];
    const beat = heartbeat({ workerId, incarnation, lastAssignmentSeq, heldExecutionIds });
    await this.say('worker.heartbeat', beat).catch(() => undefined);
  }

  private say(type: string, message: object): Promise<void> {
    return this.publish('flow.workers', '', { type, content: JSON.stringify(message) });
  }
}
