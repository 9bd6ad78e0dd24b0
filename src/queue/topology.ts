import { PRIORITIES, type Priority } from './priority.js';

/** What is declared on the broker, as data. `docs/rabbitmq.md` shows the same listing, and a test compares the two. */

export interface ExchangeSpec {
  name: string;
  kind: 'direct' | 'fanout';
}
export interface QueueSpec {
  name: string;
  arguments: Record<string, string | number>;
}
export interface BindingSpec {
  queue: string;
  exchange: string;
  routingKey: string;
}
export interface Topology {
  exchanges: ExchangeSpec[];
  queues: QueueSpec[];
  bindings: BindingSpec[];
}

export const RESULTS_KEY = 'results';

/** Every name we use on the broker. `prefix` (`AMQP_PREFIX`) keeps several installations on one vhost apart. */
export class Names {
  constructor(private readonly prefix: string) {}

  readonly ready = (): string => `${this.prefix}flow.ready`;
  readonly assign = (): string => `${this.prefix}flow.assign`;
  readonly results = (): string => `${this.prefix}flow.results`;
  readonly deadLetterExchange = (): string => `${this.prefix}flow.dlx`;
  readonly deadLetterQueue = (): string => `${this.prefix}flow.dlq`;
  readonly workers = (): string => `${this.prefix}flow.workers`;
  readonly control = (): string => `${this.prefix}flow.control`;
  readonly readyQueue = (priority: Priority): string => `${this.prefix}flow.ready.${priority}`;
  readonly workerQueue = (workerId: string): string => `${this.prefix}flow.worker.${workerId}`;
}

/**
 * Broker-side redeliveries after which a message is given up. Far above anything that our own `x-attempt` allows:
 * it only stops a message that never gets as far as being read. (RabbitMQ 4 would use 20 and drop it.)
 */
const DELIVERY_LIMIT = 1_000;
const DEAD_LETTER_DELIVERY_LIMIT = 100_000;

/** Dead-lettering at least once needs `reject-publish`; without it RabbitMQ silently falls back to at most once. */
export function taskQueueArguments(names: Names): Record<string, string | number> {
  return {
    'x-queue-type': 'quorum',
    'x-delivery-limit': DELIVERY_LIMIT,
    'x-dead-letter-exchange': names.deadLetterExchange(),
    'x-dead-letter-strategy': 'at-least-once',
    'x-overflow': 'reject-publish',
  };
}

/** Everything that stands for as long as the installation does. Dead-letter targets come first. */
export function topology(names: Names): Topology {
  const taskQueue = (name: string): QueueSpec => ({ name, arguments: taskQueueArguments(names) });
  return {
    exchanges: [
      { name: names.deadLetterExchange(), kind: 'fanout' },
      { name: names.ready(), kind: 'direct' },
      { name: names.assign(), kind: 'direct' },
      { name: names.results(), kind: 'direct' },
      { name: names.workers(), kind: 'fanout' },
      { name: names.control(), kind: 'fanout' },
    ],
    queues: [
      {
        name: names.deadLetterQueue(),
        arguments: { 'x-queue-type': 'quorum', 'x-delivery-limit': DEAD_LETTER_DELIVERY_LIMIT },
      },
      ...PRIORITIES.map((priority) => taskQueue(names.readyQueue(priority))),
      taskQueue(names.results()),
    ],
    bindings: [
      { queue: names.deadLetterQueue(), exchange: names.deadLetterExchange(), routingKey: '' },
      ...PRIORITIES.map((priority) => ({
        queue: names.readyQueue(priority),
        exchange: names.ready(),
        routingKey: priority,
      })),
      { queue: names.results(), exchange: names.results(), routingKey: RESULTS_KEY },
    ],
  };
}

/** The queue of one worker, declared when it registers and deleted when it has gone and left nothing behind. */
export function workerTopology(names: Names, workerId: string): Topology {
  const queue = names.workerQueue(workerId);
  return {
    exchanges: [],
    queues: [{ name: queue, arguments: taskQueueArguments(names) }],
    bindings: [
      { queue, exchange: names.assign(), routingKey: workerId },
      { queue, exchange: names.control(), routingKey: '' },
    ],
  };
}
