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
import { TASK_TYPE, type TaskMessage, taskSchema } from './task.js';

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
  traceparent: 'traceparent',
} as const;

/** The message behind each `type` property. */
export interface Messages {
  [TASK_TYPE]: TaskMessage;
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
  const message = parseJson(delivery.content);
  const validate = validators.get(type)!;
  if (!validate(message)) {
    const [first] = validate.errors ?? [];
    throw new UndecodableError(
      `${type}: ${first?.instancePath || 'the message'} ${first?.message ?? 'is not valid'}`,
    );
  }
  return { type, message } as Extract<Decoded, { type: T }>;
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
