import { ID_PATTERN, NODE_TYPE_PATTERN } from './flow.js';
import { Names, RESULTS_KEY } from '../topology.js';
import type { TaskMessage } from './task.js';
import { HEADERS, MESSAGE_SCHEMAS, type Messages, type MessageType, WIRE_VERSION } from './wire.js';

/**
 * The wire between orchestrator and workers as an AsyncAPI 3.0 document, seen from the worker: `send` is what a
 * worker publishes, `receive` what it consumes. `npm run docs:asyncapi` writes it to docs/asyncapi.yaml.
 */
export function asyncApiDocument(): object {
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'flow-orchestrator: the worker protocol',
      version: `${WIRE_VERSION}.0.0`,
      description:
        'What a worker publishes and consumes over AMQP 0-9-1, seen from the worker. ' +
        'Every exchange and queue name may carry a prefix (AMQP_PREFIX), empty by default. ' +
        'The orchestrator declares all of them; a worker declares nothing. ' +
        'The order of steps and the pitfalls are in docs/writing-a-worker.md.',
      license: { name: 'MIT' },
    },
    defaultContentType: 'application/json',
    servers: {
      broker: {
        host: 'localhost:5672',
        protocol: 'amqp',
        protocolVersion: '0.9.1',
        description: 'RabbitMQ 3.10 or later',
      },
    },
    channels: Object.fromEntries(CHANNELS.map((channel) => [channel.id, describeChannel(channel)])),
    operations: Object.fromEntries(
      CHANNELS.map((channel) => [channel.operation.id, describeOperation(channel)]),
    ),
    components: {
      messages: Object.fromEntries(MESSAGE_TYPES.map((type) => [type, describeMessage(type)])),
      schemas: Object.fromEntries(MESSAGE_TYPES.map((type) => [type, MESSAGE_SCHEMAS[type]])),
    },
  };
}

const NAMES = new Names('');
const MESSAGE_TYPES = Object.keys(MESSAGE_SCHEMAS) as MessageType[];

interface Channel {
  id: string;
  /** The routing key, or the queue's name; see `amqp.is`. */
  address: string;
  description: string;
  parameters?: object;
  amqp: object;
  messages: MessageType[];
  operation: { id: string; action: 'send' | 'receive'; summary: string; amqp: object };
}

const CHANNELS: Channel[] = [
  {
    id: 'workers',
    address: '',
    description: 'Fanout to every orchestrator replica; the routing key is empty.',
    amqp: { is: 'routingKey', exchange: { name: NAMES.workers(), type: 'fanout', durable: true } },
    messages: ['worker.registration', 'worker.heartbeat', 'worker.goodbye'],
    operation: {
      id: 'announce',
      action: 'send',
      summary: 'A worker says who it is, how it does, and that it ends. Transient messages.',
      amqp: { deliveryMode: 1, mandatory: true },
    },
  },
  {
    id: 'results',
    address: RESULTS_KEY,
    description:
      'What became of the tasks. Tasks are acked only after the broker confirmed their final report.',
    amqp: { is: 'routingKey', exchange: { name: NAMES.results(), type: 'direct', durable: true } },
    messages: ['task.reports'],
    operation: {
      id: 'report',
      action: 'send',
      summary: 'A worker reports starts and ends in batches. Persistent messages, publisher confirms.',
      amqp: { deliveryMode: 2, mandatory: true },
    },
  },
  {
    id: 'inbox',
    address: NAMES.workerQueue('{workerId}'),
    description:
      `One worker's own quorum queue, bound to the direct exchange ${NAMES.assign()} by the worker id, and to the ` +
      `fanout exchange ${NAMES.control()} for what is told to all workers. ` +
      'It exists once the orchestrator has seen the registration; consuming earlier ends in a 404. ' +
      'It outlives a restart of the worker, and what is in it stays.',
    parameters: { workerId: { description: `The worker's id, stable across restarts: ${ID_PATTERN}` } },
    amqp: {
      is: 'queue',
      queue: { name: NAMES.workerQueue('{workerId}'), durable: true, exclusive: false, autoDelete: false },
    },
    messages: ['flow.task', 'flow.tasks', 'task.cancel', 'worker.drain', 'worker.register'],
    operation: {
      id: 'work',
      action: 'receive',
      summary: 'Tasks, and what the orchestrator tells this worker between them. Manual acks.',
      amqp: { deliveryMode: 2, mandatory: true, ack: true },
    },
  },
];

function describeChannel({ address, description, parameters, amqp, messages }: Channel): object {
  return {
    address,
    description,
    ...(parameters && { parameters }),
    messages: Object.fromEntries(messages.map((type) => [type, { $ref: `#/components/messages/${type}` }])),
    bindings: { amqp: { ...amqp, bindingVersion: '0.3.0' } },
  };
}

function describeOperation({ id, messages, operation: { action, summary, amqp } }: Channel): object {
  return {
    action,
    channel: { $ref: `#/channels/${id}` },
    summary,
    messages: messages.map((type) => ({ $ref: `#/channels/${id}/messages/${type}` })),
    bindings: { amqp: { ...amqp, bindingVersion: '0.3.0' } },
  };
}

interface MessageText<T extends MessageType> {
  title: string;
  summary: string;
  /** The AMQP property `messageId`. */
  messageId: string;
  example: Messages[T];
}

const EXECUTION_ID = '01935c3e-8a6b-7c1d-9f00-3b2a4d5e6f70';
const WORKER = { workerId: 'worker-1', incarnation: '5f0c6a2e9d3b4c7f8a1e2d3c4b5a6978' };
const FROM_WORKER = '<workerId>:<incarnation>:<n>, n rising with every message of this process';
const FROM_ORCHESTRATOR = 'set by the orchestrator; for people to read';

const TASK: TaskMessage = {
  executionId: EXECUTION_ID,
  flowId: 'count-words',
  attempt: 1,
  maxAttempts: 3,
  priority: 'normal',
  flowData: {
    name: 'Count words',
    version: 1,
    nodes: [
      { id: 'pause', type: 'delay', config: { ms: 100 } },
      { id: 'count', type: 'python-wordcount' },
    ],
    connections: [{ from: 'pause', to: 'count' }],
  },
  inputs: { text: 'to be or not to be' },
  timeoutMs: 60_000,
};

const MESSAGE_TEXTS: { [T in MessageType]: MessageText<T> } = {
  'flow.task': {
    title: 'Run this flow',
    summary:
      'One attempt of one execution. `correlationId` is the executionId. Attempt numbers only rise. A redelivered task ' +
      'that this process does not know is not run, but reported `failed` with code `interrupted`, `retryable: true`.',
    messageId: '<executionId>:<attempt>:<hop>',
    example: TASK,
  },
  'flow.tasks': {
    title: 'Run these flows',
    summary:
      'Several tasks in one message, only to a worker whose registration has `takesBatches: true`. Each is run and ' +
      'reported like a `flow.task`; the message is acked once the final reports of all of them are confirmed.',
    messageId: '<executionId>:<attempt>:<hop> of the first task',
    example: { tasks: [TASK, { ...TASK, executionId: '01935c3e-8a6b-7c1d-9f00-3b2a4d5e6f71' }] },
  },
  'task.reports': {
    title: 'What became of tasks',
    summary: 'Everything that happened since the last batch was confirmed.',
    messageId: `${FROM_WORKER}; a batch that is published again keeps its messageId`,
    example: {
      ...WORKER,
      reports: [
        {
          executionId: EXECUTION_ID,
          attempt: 1,
          kind: 'completed',
          startedAt: '2026-11-21T09:00:00.000Z',
          finishedAt: '2026-11-21T09:00:00.102Z',
          durationMs: 102,
          result: { count: { words: 6, distinct: 4 } },
        },
      ],
    },
  },
  'worker.registration': {
    title: 'I am here',
    summary: 'At start, after every reconnect, and whenever an orchestrator asks.',
    messageId: FROM_WORKER,
    example: {
      ...WORKER,
      hostname: 'host-1',
      capacity: { maxConcurrentFlows: 4, maxConcurrentNodes: 4, memoryLimitMB: 2048, cpuLimitCores: 2 },
      supportedNodeTypes: ['delay', 'python-wordcount'],
      heldExecutionIds: [],
    },
  },
  'worker.heartbeat': {
    title: 'How I do',
    summary: 'Each HEARTBEAT_INTERVAL_MS (15000), and at once when `status` or `draining` changes.',
    messageId: FROM_WORKER,
    example: {
      ...WORKER,
      status: 'healthy',
      currentLoad: {
        activeFlows: 1,
        activeNodes: 1,
        memoryUsagePercent: 2.4,
        cpuUsagePercent: 31,
        queuedTasks: 0,
      },
      heldExecutionIds: [EXECUTION_ID],
      lastAssignmentSeq: 17,
      draining: false,
    },
  },
  'worker.goodbye': {
    title: 'I end, and hold nothing any more',
    summary: 'The last message of a worker that ends on purpose.',
    messageId: FROM_WORKER,
    example: { ...WORKER, reason: 'SIGTERM' },
  },
  'task.cancel': {
    title: 'Abort this task',
    summary: 'Answered by a `cancelled` report, or by whatever end came first.',
    messageId: FROM_ORCHESTRATOR,
    example: { executionId: EXECUTION_ID, attempt: 1, reason: 'a client asked for it' },
  },
  'worker.drain': {
    title: 'Finish and leave',
    summary:
      'Like SIGTERM: go on consuming, hand back what has not started and what still arrives, at the deadline the rest; ' +
      'then say goodbye, exit 0.',
    messageId: FROM_ORCHESTRATOR,
    example: { deadlineMs: 30_000, reason: 'scaling in' },
  },
  'worker.register': {
    title: 'Register again',
    summary:
      'An orchestrator starts (to all workers, through the fanout exchange) or does not know this worker; ' +
      'it answers with `worker.registration`.',
    messageId: FROM_ORCHESTRATOR,
    example: {},
  },
};

function describeMessage(type: MessageType): object {
  const { title, summary, messageId, example } = MESSAGE_TEXTS[type];
  return {
    name: type,
    title,
    summary,
    description: `AMQP properties: type \`${type}\`; messageId: ${messageId}.`,
    contentType: 'application/json',
    headers: HEADERS_OF[type] ?? COMMON_HEADERS,
    payload: { $ref: `#/components/schemas/${type}` },
    bindings: { amqp: { messageType: type, bindingVersion: '0.3.0' } },
    examples: [{ payload: example }],
  };
}

const schemaHeader = {
  const: WIRE_VERSION,
  description: 'Wire version; a newer one is refused, never guessed at.',
};

const COMMON_HEADERS = {
  type: 'object',
  required: [HEADERS.schema],
  properties: { [HEADERS.schema]: schemaHeader },
};

const TASK_HEADERS = {
  type: 'object',
  required: [HEADERS.schema, HEADERS.attempt],
  properties: {
    [HEADERS.schema]: schemaHeader,
    [HEADERS.attempt]: { type: 'integer', minimum: 1, description: 'The same as `attempt` in the payload.' },
    [HEADERS.epoch]: {
      type: 'integer',
      minimum: 0,
      description: 'The term of the leader that gave the task.',
    },
    [HEADERS.assignmentSeq]: {
      type: 'integer',
      minimum: 1,
      description: 'Rises with every task given to any worker; heartbeats echo the highest one seen.',
    },
    [HEADERS.nodeTypes]: {
      type: 'string',
      description: `The sorted node types of the flow, comma-separated, each ${NODE_TYPE_PATTERN}`,
    },
    [HEADERS.solo]: {
      const: true,
      description:
        'The last attempt of a flow whose worker was lost before: its worker gets nothing else meanwhile.',
    },
    [HEADERS.needsSlot]: {
      const: true,
      description:
        'The last attempt of a flow, or one after its worker was lost: it is not sent ahead of a free slot.',
    },
    [HEADERS.traceparent]: { type: 'string', description: 'W3C trace context.' },
  },
};

const BATCH_HEADERS = {
  type: 'object',
  required: [HEADERS.schema],
  properties: Object.fromEntries(
    [HEADERS.schema, HEADERS.epoch, HEADERS.assignmentSeq].map((name) => [
      name,
      TASK_HEADERS.properties[name],
    ]),
  ),
};

const HEADERS_OF: Partial<Record<MessageType, object>> = {
  'flow.task': TASK_HEADERS,
  'flow.tasks': BATCH_HEADERS,
};
