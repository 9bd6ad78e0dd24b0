import { Injectable } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { BaseRpcContext, type CustomTransportStrategy, Server } from '@nestjs/microservices';
import type { Consumer, ConsumerOptions, Delivery } from '../messaging/consumer.js';
import { MessagingService } from '../messaging/messaging.service.js';
import { GOODBYE_TYPE, HEARTBEAT_TYPE, REGISTRATION_TYPE } from '../queue/contracts/fleet.js';
import { decode, UndecodableError } from '../queue/contracts/wire.js';
import { QueueManagementService } from '../queue/queue-management.service.js';
import { WorkerManagementService } from './worker-management.service.js';

/** More than this many unread heartbeats are worth less than the newest ones. */
const QUEUE_LIMIT = 1_000;
const PREFETCH = 200;
const REBIND_INTERVAL_MS = 5_000;

type FleetChannel = Parameters<NonNullable<ConsumerOptions['prepare']>>[0];

/**
 * Brings the fleet's messages into Nest's message handlers: this replica's own, exclusive queue on the fanout
 * exchange `flow.workers`, so that every replica hears every worker. Registrations and heartbeats are few; the task
 * and result paths do not take this way.
 */
@Injectable()
export class FleetTransport extends Server implements CustomTransportStrategy {
  private consumer: Consumer | null = null;
  private queue = '';

  constructor(
    private readonly messaging: MessagingService,
    private readonly queues: QueueManagementService,
    private readonly workers: WorkerManagementService,
  ) {
    super();
  }

  listen(callback: () => void): void {
    const begin = (): void => {
      this.consumer ??= this.messaging.consume({
        queue: this.queues.names.workers(),
        prefetch: PREFETCH,
        purpose: 'fleet consumer',
        prepare: (channel) => this.ownQueue(channel),
        onDelivery: (delivery) => void this.receive(delivery),
        onConsuming: () => void this.workers.meetThePool(),
      });
    };
    if (this.queues.isDeclared) {
      begin();
    } else {
      this.queues.once('declared', begin);
    }
    callback();
  }

  /** Nobody tells us when an operator deletes the exchange, and our binding with it: so it is made again and again. */
  @Interval(REBIND_INTERVAL_MS)
  async rebind(): Promise<void> {
    await this.consumer
      ?.onChannel((channel) => this.bind(channel))
      .catch((error: Error) => this.logger.warn(`the fleet queue is not bound: ${error.message}`));
  }

  /** The server names it: after a half-open cut, a name of ours would stay locked until the broker has noticed. */
  private async ownQueue(channel: FleetChannel): Promise<string> {
    const { queue } = await channel.assertQueue('', {
      exclusive: true,
      autoDelete: true,
      durable: false,
      maxLength: QUEUE_LIMIT,
    });
    this.queue = queue;
    await this.bind(channel);
    return queue;
  }

  private async bind(channel: FleetChannel): Promise<void> {
    await channel.bindQueue(this.queue, this.queues.names.workers(), '');
  }

  async close(): Promise<void> {
    if (this.consumer) {
      await this.messaging.stopConsuming(this.consumer);
    }
  }

  on(): never {
    throw new Error('the fleet transport emits no events of its own; see WorkerManagementService');
  }

  unwrap<T>(): T {
    return this.messaging as T;
  }

  private async receive(delivery: Delivery): Promise<void> {
    try {
      const { type, message } = decode(delivery, REGISTRATION_TYPE, HEARTBEAT_TYPE, GOODBYE_TYPE);
      delivery.ack();
      await this.handleEvent(type, { pattern: type, data: message }, new BaseRpcContext([delivery]));
    } catch (error) {
      if (error instanceof UndecodableError) {
        await this.refuse(delivery, error.message);
      } else {
        this.logger.error(`a fleet message failed: ${(error as Error).stack}`);
      }
    }
  }

  /** Every replica got this message; the leader alone keeps it, so that it is on record once. */
  private async refuse(delivery: Delivery, reason: string): Promise<void> {
    if (!this.workers.isLeading) {
      delivery.ack();
      return;
    }
    await this.queues.bury(delivery, this.queues.names.workers(), reason);
  }
}
