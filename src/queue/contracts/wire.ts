import { Ajv, type ValidateFunction } from 'ajv';
import {
  CANCEL_TYPE,
  type CancelTaskMessage,
  cancelSchema,
  DRAIN_TYPE,
  type DrainWorkerMessage,
  drainSchema,
  REGISTER_TYPE,
  type RegisterWorkerMessage,
  registerSchema,
} from './control.js';
import {
  GOODBYE_TYPE,
  goodbyeSchema,
  HEARTBEAT_TYPE,
  heartbeatSchema,
  REGISTRATION_TYPE,
  registrationSchema,
  type WorkerGoodbyeMessage,
  type WorkerHeartbeatMessage,
  type WorkerRegistrationMessage,
} from './fleet.js';
import { REPORTS_TYPE, reportBatchSchema, type ReportBatchMessage } from './reports.js';
import {
  TASK_TYPE,
  type TaskBatchMessage,
  taskBatchSchema,
  type TaskMessage,
  TASKS_TYPE,
  taskSchema,
} from './task.js';

/** The version of every message on the wire, in the header `x-schema`. A newer one is refused, never guessed at. */
export const WIRE_VERSION = 1;

export const HEADERS = {
  schema: 'x-schema',
  attempt: 'x-attempt',
  epoch: 'x-epoch',
  /** The sorted node types of a task's flow, comma-separated: dispatch reads it and leaves the body alone. */
  nodeTypes: 'x-node-types',
  /** Rises with every task given to any worker; heartbeats echo the highest one seen. */
  assignmentSeq: 'x-assignment-seq',
  /** `true` on the last attempt of a task whose worker was lost before: it gets a worker to itself. */
  solo: 'x-solo',
  /** `true` on an attempt that must not be sent ahead of a free slot: the last one, or one after a worker was lost. */
  needsSlot: 'x-needs-slot',
  traceparent: 'traceparent',
} as const;

/** The message behind each `type` property. */
export interface Messages {
  [TASK_TYPE]: TaskMessage;
  [TASKS_TYPE]: TaskBatchMessage;
  [REPORTS_TYPE]: ReportBatchMessage;
  [REGISTRATION_TYPE]: WorkerRegistrationMessage;
  [HEARTBEAT_TYPE]: WorkerHeartbeatMessage;
  [GOODBYE_TYPE]: WorkerGoodbyeMessage;
  [CANCEL_TYPE]: CancelTaskMessage;
  [DRAIN_TYPE]: DrainWorkerMessage;
  [REGISTER_TYPE]: RegisterWorkerMessage;
}
export type MessageType = keyof Messages;

/** One JSON Schema a message: what decoding checks, and what `docs/asyncapi.yaml` shows. */
export const MESSAGE_SCHEMAS: Record<MessageType, object> = {
  [TASK_TYPE]: taskSchema,
  [TASKS_TYPE]: taskBatchSchema,
  [REPORTS_TYPE]: reportBatchSchema,
  [REGISTRATION_TYPE]: registrationSchema,
  [HEARTBEAT_TYPE]: heartbeatSchema,
  [GOODBYE_TYPE]: goodbyeSchema,
  [CANCEL_TYPE]: cancelSchema,
  [DRAIN_TYPE]: drainSchema,
  [REGISTER_TYPE]: registerSchema,
};

const ajv = new Ajv({ allErrors: false, strict: true, allowUnionTypes: true, strictRequired: false });
const validators = new Map<string, ValidateFunction>(
  Object.entries(MESSAGE_SCHEMAS).map(([type, schema]) => [type, ajv.compile(schema)]),
);

/** The part of a delivery that decoding looks at. */
export interface Encoded {
  type: string | undefined;
  headers: Record<string, unknown>;
  content: Buffer;
}

/** A message that cannot be understood: it goes to the dead letters with `message` as its reason, once. */
export class UndecodableError extends Error {
  override readonly name = 'UndecodableError';
}

type Decoded = { [T in MessageType]: { type: T; message: Messages[T] } }[MessageType];

/**
 * Turns bytes into a message of one of the `expected` types.
 * @throws UndecodableError naming what was expected and what came.
 */
export function decode<T extends MessageType>(
  delivery: Encoded,
  ...expected: T[]
): Extract<Decoded, { type: T }> {
  const { type, message } = open(delivery, expected);
  const problem = problemWith(type, message);
  if (problem !== null) {
    throw new UndecodableError(problem);
  }
  return { type, message } as Extract<Decoded, { type: T }>;
}

/** A task as a worker received it, or what is wrong with it. */
export type ReceivedTask = { task: TaskMessage; problem: null } | { task: unknown; problem: string };

/**
 * The tasks of a `flow.task` or a `flow.tasks`. Each is checked on its own, so that one that is wrong fails alone.
 * @throws UndecodableError if there are none to be found
 */
export function decodeTasks(delivery: Encoded): ReceivedTask[] {
  const { type, message } = open(delivery, [TASK_TYPE, TASKS_TYPE]);
  const tasks = type === TASK_TYPE ? [message] : (message as { tasks?: unknown } | null)?.tasks;
  if (!Array.isArray(tasks) || tasks.length === 0) {
    throw new UndecodableError(`${TASKS_TYPE}: expected an array /tasks with at least one task`);
  }
  return tasks.map(receivedTask);
}

function receivedTask(task: unknown): ReceivedTask {
  const problem = problemWith(TASK_TYPE, task);
  return problem === null ? { task: task as TaskMessage, problem } : { task, problem };
}

function open<T extends MessageType>(
  delivery: Encoded,
  expected: readonly T[],
): { type: T; message: unknown } {
  const type = delivery.type as T | undefined;
  if (type === undefined || !expected.includes(type)) {
    throw new UndecodableError(
      `expected a message of type ${expected.join(' or ')}, got ${type ?? 'no type'}`,
    );
  }
  const version = delivery.headers[HEADERS.schema] ?? WIRE_VERSION;
  if (version !== WIRE_VERSION) {
    throw new UndecodableError(
      `expected wire version ${WIRE_VERSION} in the header ${HEADERS.schema}, got ${JSON.stringify(version)}`,
    );
  }
  return { type, message: parseJson(delivery.content) };
}

function problemWith(type: MessageType, message: unknown): string | null {
  const validate = validators.get(type)!;
  if (validate(message)) {
    return null;
  }
  const [first] = validate.errors ?? [];
  return `${type}: ${first?.instancePath || 'the message'} ${first?.message ?? 'is not valid'}`;
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function parseJson(content: Buffer): unknown {
  try {
    return JSON.parse(utf8.decode(content)) as unknown;
  } catch (error) {
    throw new UndecodableError(
      `expected UTF-8 JSON, got ${content.length} bytes that are not: ${String(error)}`,
    );
  }
}
