import type { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import type { RetryPolicy } from '../queue/contracts/flow.js';
import type { FlowExecutionMessage } from '../queue/contracts/flow-execution.js';
import { escapePointer, preview } from '../queue/contracts/schema-problems.js';
import { DEFAULT_PRIORITY } from '../queue/priority.js';
import { fitsInto } from '../queue/text-bytes.js';
import type { NewExecution } from '../store/execution-store.js';
import { faultsOf } from './api/validation.js';
import { toFlowExecutionRequest } from './api/flow-execution.dto.js';
import type { FieldProblem } from './api/problem.js';
import type { CheckedFlow, FlowChecks } from './flow-checks.js';
import { requestHash } from './flow-identity.js';

/** What a request is measured against. */
export type RequestLimits = Pick<
  OrchestratorConfigService,
  | 'bodyLimitBytes'
  | 'executionTimeoutMs'
  | 'executionTimeoutMaxMs'
  | 'retryMaxAttempts'
  | 'rescueAfterMs'
  | 'unknownNodeTypes'
>;

export interface RequestContext {
  limits: RequestLimits;
  flows: FlowChecks;
  /** Node types that some live worker supports. */
  knownNodeTypes: ReadonlySet<string>;
  /** Epoch ms. */
  now: number;
  /** The id of an execution that brings none. */
  newId: () => string;
}

export type FlowRequest =
  { ok: true; execution: NewExecution } | { ok: false; tooLarge: boolean; problems: FieldProblem[] };

const NO_LABELS = {};
const MAX_LABELS = 32;
const LABEL_NAME = /^[A-Za-z0-9_./-]{1,64}$/;
const MAX_LABEL_VALUE = 256;
const CONTROL_CHARACTER = /\p{Cc}/u;

/** From the parsed body of one request to the row of its execution, or to everything that is wrong with it. */
export function toNewExecution(body: unknown, context: RequestContext): FlowRequest {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    return refuse([
      { pointer: '', message: `expected an object with flowId and flowData, got ${preview(body)}` },
    ]);
  }
  const shadows = shadowProblems(body);
  if (shadows.length > 0) {
    return refuse(shadows);
  }
  const message: FlowExecutionMessage = toFlowExecutionRequest(body);
  const verdict = checkedFlow(message, context);
  const problems = [
    ...faultsOf(message),
    ...(verdict.ok ? [] : verdict.problems),
    ...labelProblems(message.labels),
    ...timeProblems(message, context),
  ];
  if (problems.length > 0 || !verdict.ok) {
    return refuse(problems);
  }
  return build(message, verdict.flow, requestHash(body, verdict.flow.canonical), context);
}

/**
 * class-validator asks an object for its constructor, and takes a name that every object has for a known field: one that
 * came with the request would choose the rules it is held to, or be passed over.
 */
function shadowProblems(body: Partial<FlowExecutionMessage>): FieldProblem[] {
  const { retry } = body;
  const backoff = (retry as Partial<RetryPolicy> | null | undefined)?.backoff;
  if (!hasShadow(body) && !hasShadow(retry) && !hasShadow(backoff)) {
    return [];
  }
  const levels: [string, unknown][] = [
    ['', body],
    ['/retry', retry],
    ['/retry/backoff', backoff],
  ];
  return levels.flatMap(([pointer, level]) =>
    Object.keys(level ?? {})
      .filter(isShadow)
      .map((name) => ({
        pointer: `${pointer}/${name}`,
        message: `expected no field named ${name}, got one`,
      })),
  );
}

function hasShadow(level: unknown): boolean {
  for (const name in level as object) {
    if (isShadow(name)) {
      return true;
    }
  }
  return false;
}

function isShadow(name: string): boolean {
  return name in Object.prototype;
}

function refuse(problems: FieldProblem[], tooLarge = false): FlowRequest {
  return { ok: false, tooLarge, problems };
}

function build(
  message: FlowExecutionMessage,
  flow: CheckedFlow,
  hash: string,
  { limits, newId }: RequestContext,
): FlowRequest {
  const request = `{"flowData":${flow.text},"inputs":${JSON.stringify(message.inputs ?? {})}}`;
  if (!fitsInto(limits.bodyLimitBytes, request)) {
    const sizeBytes = Buffer.byteLength(request);
    const expected = `expected flowData and inputs of at most ${limits.bodyLimitBytes} bytes together`;
    return refuse([{ pointer: '', message: `${expected}, got ${sizeBytes}`, limit: 'bodyLimitBytes' }], true);
  }
  return {
    ok: true,
    execution: {
      executionId: message.executionId ?? newId(),
      flowId: message.flowId,
      priority: message.priority ?? DEFAULT_PRIORITY,
      requiredTypes: flow.requiredTypes,
      request,
      requestHash: hash,
      labels: message.labels ?? NO_LABELS,
      timeoutMs: message.timeoutMs ?? limits.executionTimeoutMs,
      maxAttempts: message.retry?.maxAttempts ?? limits.retryMaxAttempts,
      backoff: message.retry?.backoff ? { ...message.retry.backoff } : null,
      delayMs: message.delayMs ?? 0,
      expiresAt: message.expiresAt === undefined ? null : Date.parse(message.expiresAt),
      workerId: null,
      rescueAfterMs: limits.rescueAfterMs,
    },
  };
}

function checkedFlow(
  { flowData }: FlowExecutionMessage,
  { flows, limits, knownNodeTypes }: RequestContext,
): { ok: true; flow: CheckedFlow } | { ok: false; problems: FieldProblem[] } {
  if (flowData === undefined || flowData === null) {
    return { ok: false, problems: [] }; // the envelope's own rules say so
  }
  const verdict = flows.check(flowData);
  if (!verdict.ok) {
    const problems = verdict.problems.map((problem) => ({
      ...problem,
      pointer: `/flowData${problem.pointer}`,
    }));
    return { ok: false, problems };
  }
  const unknown =
    limits.unknownNodeTypes === 'wait'
      ? []
      : verdict.flow.nodeTypes.filter((type) => !knownNodeTypes.has(type));
  if (unknown.length === 0) {
    return verdict;
  }
  const known = [...knownNodeTypes].toSorted().join(', ') || 'none at present';
  const problems = unknown.map((type) => ({
    pointer: '/flowData/nodes',
    message: `expected node types that a live worker supports (${known}), got "${type}"`,
  }));
  return { ok: false, problems };
}

function labelProblems(labels: unknown): FieldProblem[] {
  if (labels === undefined) {
    return [];
  }
  if (typeof labels !== 'object' || labels === null || Array.isArray(labels)) {
    return [{ pointer: '/labels', message: `expected an object of texts, got ${preview(labels)}` }];
  }
  const entries = Object.entries(labels);
  if (entries.length > MAX_LABELS) {
    const message = `expected at most ${MAX_LABELS} labels, got ${entries.length}`;
    return [{ pointer: '/labels', message, limit: 'maxLabels' }];
  }
  return entries.flatMap(([name, value]) => {
    const fault = labelFault(name, value);
    return fault === null ? [] : [{ pointer: `/labels/${escapePointer(name)}`, message: fault }];
  });
}

/** What is wrong with one label; null if nothing is. */
export function labelFault(name: string, value: unknown): string | null {
  if (!LABEL_NAME.test(name)) {
    return `expected a name of 1 to 64 letters, digits, _ . / or -, got ${preview(name)}`;
  }
  if (typeof value !== 'string' || value.length > MAX_LABEL_VALUE || CONTROL_CHARACTER.test(value)) {
    return `expected text of at most ${MAX_LABEL_VALUE} characters without control characters, got ${preview(value)}`;
  }
  return null;
}

function timeProblems(
  { timeoutMs, expiresAt }: FlowExecutionMessage,
  { limits, now }: RequestContext,
): FieldProblem[] {
  const problems: FieldProblem[] = [];
  if (typeof timeoutMs === 'number' && timeoutMs > limits.executionTimeoutMaxMs) {
    const message = `expected at most ${limits.executionTimeoutMaxMs} ms, got ${timeoutMs}`;
    problems.push({ pointer: '/timeoutMs', message, limit: 'executionTimeoutMaxMs' });
  }
  if (typeof expiresAt === 'string' && Date.parse(expiresAt) <= now) {
    const message = `expected a time after now (${new Date(now).toISOString()}), got ${preview(expiresAt)}`;
    problems.push({ pointer: '/expiresAt', message });
  }
  return problems;
}
