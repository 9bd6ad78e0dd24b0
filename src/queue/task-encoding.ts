import { HIGHEST_ATTEMPT, ID_PATTERN } from './contracts/flow.js';
import type { Delivery } from '../messaging/consumer.js';
import { decodeTasks, HEADERS, WIRE_VERSION } from './contracts/wire.js';
import { TASK_TYPE, type TaskMessage, TASKS_TYPE } from './contracts/task.js';

/** A task as the record holds it: the flow and its inputs are JSON text already. */
export interface RecordedTask extends Omit<TaskMessage, 'flowData' | 'inputs'> {
  /** The task's class: its node types, sorted, joined with `,`. */
  requiredTypes: string;
  /** JSON text of `{flowData, inputs}`. */
  request: string;
  /** It must have a worker to itself. */
  solo: boolean;
  /** It must not be sent ahead of a free slot. */
  needsSlot: boolean;
}

const COMMA = 0x2c;

/** The bytes of a `TaskMessage`, made around the recorded request without parsing it, nor copying it as text. */
export function encodeTask(task: RecordedTask): Buffer {
  const { executionId, flowId, attempt, maxAttempts, priority, timeoutMs } = task;
  // Ids are letters, digits and four marks (`ID_PATTERN`): nothing here has to be escaped.
  const envelope =
    `{"executionId":"${executionId}","flowId":"${flowId}","attempt":${attempt},"maxAttempts":${maxAttempts},` +
    `"priority":"${priority}","timeoutMs":${timeoutMs}}`;
  // Two objects become one: a comma in place of the brace that ends the first and the one that begins the second.
  const seam = Buffer.byteLength(envelope) - 1;
  const bytes = Buffer.allocUnsafe(seam + Buffer.byteLength(task.request));
  bytes.write(envelope);
  bytes.write(task.request, seam);
  bytes[seam] = COMMA;
  return bytes;
}

const BATCH_HEAD = '{"tasks":[';
const BATCH_TAIL = ']}';

/** The bytes of a `TaskBatchMessage`, made around tasks that are encoded already. */
export function encodeTaskBatch(tasks: readonly Buffer[]): Buffer {
  const commas = tasks.length - 1;
  let size = BATCH_HEAD.length + commas + BATCH_TAIL.length;
  for (const task of tasks) size += task.length;
  const bytes = Buffer.allocUnsafe(size);
  let at = bytes.write(BATCH_HEAD);
  for (const task of tasks) {
    bytes.set(task, at);
    at += task.length;
    bytes[at++] = COMMA;
  }
  // Over the last comma.
  bytes.write(BATCH_TAIL, at - 1);
  return bytes;
}

/** What dispatch needs to know of a task, so that it need not look into the body. */
export function taskHeaders(
  task: Pick<RecordedTask, 'attempt' | 'requiredTypes' | 'solo' | 'needsSlot'>,
): Record<string, unknown> {
  return {
    [HEADERS.schema]: WIRE_VERSION,
    [HEADERS.attempt]: task.attempt,
    [HEADERS.nodeTypes]: task.requiredTypes,
    ...(task.solo && { [HEADERS.solo]: true }),
    ...(task.needsSlot && { [HEADERS.needsSlot]: true }),
  };
}

export type Hop = 'ready' | 'assign';

export function taskMessageId(executionId: string, attempt: number, hop: Hop): string {
  return `${executionId}:${attempt}:${hop}`;
}

const ID = new RegExp(ID_PATTERN);

/** A task as the dispatcher sees it in a delivery. */
export interface TaskEnvelope {
  executionId: string;
  attempt: number;
  requiredTypes: string;
  /** It must have a worker to itself. */
  solo: boolean;
  /** It must not be sent ahead of a free slot. */
  needsSlot: boolean;
}

/** Which tasks a delivery to a worker carries, as far as they can be read. */
export function carriedTasks(delivery: Delivery): { executionId: string; attempt: number }[] {
  if (delivery.type === TASK_TYPE) {
    const envelope = readTaskEnvelope(delivery);
    return typeof envelope === 'string' ? [] : [envelope];
  }
  try {
    const received = delivery.type === TASKS_TYPE ? decodeTasks(delivery) : [];
    return received.flatMap(({ task, problem }) => (problem === null ? [task] : []));
  } catch {
    return [];
  }
}

/** @returns the envelope, or what is wrong with the message */
export function readTaskEnvelope(delivery: {
  correlationId?: string | undefined;
  messageId?: string | undefined;
  headers: Record<string, unknown>;
}): TaskEnvelope | string {
  const version = delivery.headers[HEADERS.schema];
  if (version !== WIRE_VERSION) {
    return `expected wire version ${WIRE_VERSION} in the header ${HEADERS.schema}, got ${JSON.stringify(version) ?? 'none'}`;
  }
  const attempt = delivery.headers[HEADERS.attempt];
  if (!Number.isInteger(attempt) || (attempt as number) < 1 || (attempt as number) > HIGHEST_ATTEMPT) {
    return `expected an attempt of 1 or more in the header ${HEADERS.attempt}, got ${JSON.stringify(attempt) ?? 'none'}`;
  }
  const requiredTypes = delivery.headers[HEADERS.nodeTypes];
  if (typeof requiredTypes !== 'string' || requiredTypes === '') {
    return `expected the flow's node types in the header ${HEADERS.nodeTypes}, got ${JSON.stringify(requiredTypes) ?? 'none'}`;
  }
  const executionId = delivery.correlationId;
  if (executionId === undefined || !ID.test(executionId)) {
    return `expected the execution id as correlationId, got ${JSON.stringify(executionId) ?? 'none'}`;
  }
  return {
    executionId,
    attempt: attempt as number,
    requiredTypes,
    solo: delivery.headers[HEADERS.solo] === true,
    needsSlot: delivery.headers[HEADERS.needsSlot] === true,
  };
}
