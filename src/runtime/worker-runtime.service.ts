import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common';
import { WorkerConfigService } from '../config/worker-config.service.js';
import type { Consumer, Delivery } from '../messaging/consumer.js';
import { MessagingService } from '../messaging/messaging.service.js';
import { CANCEL_TYPE, DRAIN_TYPE, REGISTER_TYPE } from '../queue/contracts/control.js';
import {
  GOODBYE_TYPE,
  HEARTBEAT_TYPE,
  REGISTRATION_TYPE,
  type WorkerHeartbeatMessage,
  type WorkerRegistrationMessage,
} from '../queue/contracts/fleet.js';
import { TASK_TYPE, type TaskMessage, TASKS_TYPE } from '../queue/contracts/task.js';
import { decode, HEADERS, type Messages, WIRE_VERSION } from '../queue/contracts/wire.js';
import { Names } from '../queue/topology.js';
import { DEFAULT_EXPRESSION_LIMITS, Expressions } from './engine/expressions.js';
import type { AbortSource } from './engine/lazy-abort.js';
import { NodeSlots } from './engine/node-slots.js';
import { type FlowOutcome, runFlow } from './engine/run-flow.js';
import { NodeCatalog } from './node-catalog.js';
import { Outbox } from './outbox.js';
import { TaskRunner } from './task-runner.js';
import { type Vitals, VitalsMeter } from './vitals.js';

/** Short tasks that each slot may have before it: more make nothing faster, and all of them are lost with the process. */
const TASKS_AHEAD = 5;
/** Places beyond the slots and what is ahead of them, so that control messages pass the tasks. */
const CONTROL_PREFETCH = 16;
const JOIN_RETRY_MS = 1_000;
const ID_TAKEN_RETRY_MS = 3_000;
const SAMPLE_MS = 1_000;
const QUEUE_LOOK_MS = 100;
/** An orchestrator that heard the registration may have ended since, so it is sent again after this many looks. */
const LOOKS_PER_REGISTRATION = 20;

type FleetType = typeof REGISTRATION_TYPE | typeof HEARTBEAT_TYPE | typeof GOODBYE_TYPE;

/**
 * A worker process: joins the pool, takes tasks and control messages from its own queue, and tells the orchestrators
 * how it is. It declares nothing on the broker, and may start before the broker or any orchestrator.
 *
 * Life: joining → working → draining → gone. Draining keeps the consumer, so that a cancel still arrives; what comes
 * in then is handed back.
 */
@Injectable()
export class WorkerRuntime implements OnApplicationBootstrap {
  private readonly logger = new Logger(WorkerRuntime.name);
  private readonly incarnation = randomUUID();
  private readonly names: Names;
  private readonly slots: NodeSlots;
  private readonly expressions: Expressions;
  private readonly outbox: Outbox;
  private readonly tasks: TaskRunner;
  private readonly meter: VitalsMeter;
  private vitals: Vitals;
  private consumer: Consumer | null = null;
  private heartbeatTimer: NodeJS.Timeout | null = null;
  private sampleTimer: NodeJS.Timeout | null = null;
  private draining: Promise<void> | null = null;
  private sent = 0;
  private ended: () => void = () => undefined;
  /** Resolves when the worker has drained, whoever asked for it. */
  readonly finished = new Promise<void>((resolve) => {
    this.ended = resolve;
  });

  constructor(
    private readonly config: WorkerConfigService,
    private readonly messaging: MessagingService,
    private readonly catalog: NodeCatalog,
  ) {
    this.names = new Names(config.amqpPrefix);
    this.slots = new NodeSlots(config.workerMaxConcurrentNodes);
    this.expressions = new Expressions({
      ...DEFAULT_EXPRESSION_LIMITS,
      timeoutMs: config.expressionTimeoutMs,
    });
    this.meter = new VitalsMeter({
      memoryLimitMb: config.workerMemoryLimitMb,
      cpuLimitCores: config.workerCpuLimitCores,
      degradedPercent: config.workerDegradedPercent,
      criticalPercent: config.workerCriticalPercent,
    });
    this.vitals = this.meter.sample();
    this.outbox = new Outbox({
      workerId: config.workerId,
      incarnation: this.incarnation,
      exchange: this.names.results(),
      publish: (message) => messaging.publish(message),
    });
    this.tasks = new TaskRunner({
      maxConcurrentFlows: config.workerMaxConcurrentFlows,
      resultLimitBytes: config.resultLimitBytes,
      outbox: this.outbox,
      run: (task, signal) => this.run(task, signal),
    });
  }

  onApplicationBootstrap(): void {
    this.sampleTimer = setInterval(() => this.sample(), SAMPLE_MS);
    this.heartbeatTimer = setInterval(() => this.heartbeat(), this.config.heartbeatIntervalMs);
    void this.join();
  }

  /**
   * Takes no new work, lets what runs finish, hands back the rest at the deadline, says goodbye.
   *
   * @param deadlineMs from now
   */
  drain(deadlineMs: number, reason: string): Promise<void> {
    this.draining ??= this.leave(deadlineMs, reason);
    return this.draining;
  }

  // ---- joining -------------------------------------------------------------------------------------------------

  private async join(): Promise<void> {
    this.logger.log(`worker ${this.config.workerId} waits for the broker and an orchestrator`);
    await this.messaging.connected();
    await this.untilIdIsFree();
    await this.untilRegistered();
    await this.untilQueueStands();
    if (this.draining) {
      return;
    }
    this.consumer = this.messaging.consume({
      queue: this.names.workerQueue(this.config.workerId),
      prefetch: (1 + TASKS_AHEAD) * this.config.workerMaxConcurrentFlows + CONTROL_PREFETCH,
      purpose: 'task consumer',
      onDelivery: (delivery) => this.receive(delivery),
      onConsuming: () =>
        this.logger.log(`worker ${this.config.workerId} takes tasks: ${this.catalog.types.join(', ')}`),
      // No queue (yet, or any more): the leader declares it at the registration.
      onNotFound: async () => void (await this.register()),
    });
    this.messaging.onConnect(() => void this.register());
  }

  /** Two processes of one name would each get half of the tasks; RabbitMQ does not prevent it on quorum queues. */
  private async untilIdIsFree(): Promise<void> {
    const queue = this.names.workerQueue(this.config.workerId);
    while (!this.draining) {
      const depth = await this.messaging.admin.depth(queue).catch(() => null);
      if (!depth || depth.consumers === 0) {
        return;
      }
      this.logger.warn(
        `another process takes tasks as ${this.config.workerId} (${queue} has a consumer): ` +
          'stop it, or start this one with another --id; looking again in 3 s',
      );
      await pause(ID_TAKEN_RETRY_MS);
    }
  }

  private async untilRegistered(): Promise<void> {
    while (!this.draining && !(await this.register())) {
      await pause(JOIN_RETRY_MS);
    }
  }

  /** The leader declares the queue at the registration. Consuming while that is under way would upset the broker (541). */
  private async untilQueueStands(): Promise<void> {
    const queue = this.names.workerQueue(this.config.workerId);
    for (let tries = 1; !this.draining; tries++) {
      if (await this.messaging.admin.depth(queue).catch(() => null)) {
        return;
      }
      await pause(QUEUE_LOOK_MS);
      if (tries % LOOKS_PER_REGISTRATION === 0) {
        await this.register();
      }
    }
  }

  /** @returns false if no orchestrator heard it */
  private async register(): Promise<boolean> {
    const {
      workerId,
      workerMaxConcurrentFlows,
      workerMaxConcurrentNodes,
      workerMemoryLimitMb,
      workerCpuLimitCores,
    } = this.config;
    const registration: WorkerRegistrationMessage = {
      workerId,
      hostname: hostname(),
      capacity: {
        maxConcurrentFlows: workerMaxConcurrentFlows,
        maxConcurrentNodes: workerMaxConcurrentNodes,
        memoryLimitMB: workerMemoryLimitMb,
        cpuLimitCores: workerCpuLimitCores,
      },
      supportedNodeTypes: this.catalog.types,
      incarnation: this.incarnation,
      heldExecutionIds: this.tasks.heldExecutionIds(),
      weight: this.config.workerWeight,
      takesBatches: true,
      takesAhead: TASKS_AHEAD,
      ...(this.config.workerClass !== '' && { workerClass: this.config.workerClass }),
    };
    return this.tell(REGISTRATION_TYPE, registration);
  }

  // ---- working -------------------------------------------------------------------------------------------------

  private receive(delivery: Delivery): void {
    const seq = Number(delivery.headers[HEADERS.assignmentSeq] ?? 0);
    this.tasks.lastAssignmentSeq = Math.max(this.tasks.lastAssignmentSeq, seq);
    if (delivery.type === TASK_TYPE || delivery.type === TASKS_TYPE) {
      this.tasks.receive(delivery);
    } else {
      this.obey(delivery);
    }
  }

  private obey(delivery: Delivery): void {
    try {
      const { type, message } = decode(delivery, CANCEL_TYPE, DRAIN_TYPE, REGISTER_TYPE);
      delivery.ack(true);
      switch (type) {
        case CANCEL_TYPE:
          return this.tasks.cancel(message);
        case DRAIN_TYPE:
          return void this.drain(message.deadlineMs, message.reason);
        case REGISTER_TYPE:
          return void this.register();
      }
    } catch (error) {
      this.logger.warn(`rejected a message: ${(error as Error).message}`);
      delivery.reject();
    }
  }

  private run(task: TaskMessage, signal: AbortSource): Promise<FlowOutcome> {
    return runFlow(task, this.catalog.registry, {
      signal,
      timeoutMs: task.timeoutMs,
      nodeSlots: this.slots,
      expressions: this.expressions,
      log: (level, message, fields) =>
        this.logger[level === 'info' ? 'log' : level](message, { ...fields, executionId: task.executionId }),
    });
  }

  // ---- telling -------------------------------------------------------------------------------------------------

  private sample(): void {
    const before = this.vitals.status;
    this.vitals = this.meter.sample();
    if (this.vitals.status !== before) {
      this.logger.log(
        `${this.vitals.status}: memory ${this.vitals.memoryUsagePercent} %, CPU ${this.vitals.cpuUsagePercent} %`,
      );
      this.heartbeat();
    }
  }

  private heartbeat(): void {
    const { memoryUsagePercent, cpuUsagePercent, status } = this.vitals;
    const heartbeat: WorkerHeartbeatMessage = {
      workerId: this.config.workerId,
      status,
      currentLoad: {
        activeFlows: this.tasks.activeFlows,
        activeNodes: this.slots.inUse,
        memoryUsagePercent,
        cpuUsagePercent,
        queuedTasks: this.tasks.queuedTasks,
      },
      incarnation: this.incarnation,
      heldExecutionIds: this.tasks.heldExecutionIds(),
      lastAssignmentSeq: this.tasks.lastAssignmentSeq,
      draining: this.draining !== null,
    };
    void this.tell(HEARTBEAT_TYPE, heartbeat);
  }

  private async tell<T extends FleetType>(type: T, message: Messages[T]): Promise<boolean> {
    if (!this.messaging.isUp) {
      return false;
    }
    try {
      const outcome = await this.messaging.publish({
        exchange: this.names.workers(),
        routingKey: '',
        type,
        messageId: `${this.config.workerId}:${this.incarnation}:fleet:${++this.sent}`,
        headers: { [HEADERS.schema]: WIRE_VERSION },
        content: Buffer.from(JSON.stringify(message)),
        persistent: false,
      });
      return outcome === 'routed';
    } catch (error) {
      this.logger.debug(`${type} was not confirmed: ${(error as Error).message}`);
      return false;
    }
  }

  // ---- leaving -------------------------------------------------------------------------------------------------

  private async leave(deadlineMs: number, reason: string): Promise<void> {
    this.logger.log(`draining within ${deadlineMs} ms: ${reason}`);
    // After `drain` has stored the promise that heartbeats read.
    await Promise.resolve();
    this.heartbeat();
    this.tasks.drain();
    const deadline = setTimeout(() => this.tasks.stopRunning(), deadlineMs);
    const abandon = setTimeout(() => this.outbox.abandon(), deadlineMs + this.config.publishTimeoutMs);
    await this.tasks.idle();
    await this.outbox.idle();
    clearTimeout(deadline);
    clearTimeout(abandon);
    clearInterval(this.heartbeatTimer ?? undefined);
    clearInterval(this.sampleTimer ?? undefined);
    const goodbye = { workerId: this.config.workerId, incarnation: this.incarnation, reason };
    await this.tell(GOODBYE_TYPE, goodbye);
    if (this.consumer) {
      await this.messaging.stopConsuming(this.consumer);
    }
    await this.catalog.close();
    this.logger.log(`worker ${this.config.workerId} has drained`);
    this.ended();
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
