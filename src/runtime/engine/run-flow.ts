import type { FlowGraph } from '../../queue/contracts/flow.js';
import type { Failure, NodeTimelineEntry } from '../../queue/contracts/reports.js';
import type { ExecutionIdentity, GraphOutcome, NodeHandlers, NodeLogger } from '../nodes/node-handler.js';
import { Expressions } from './expressions.js';
import { compileGraph } from './graph.js';
import { runGraph } from './graph-run.js';
import { type AbortSource, LazyAbort } from './lazy-abort.js';
import type { NodeSlots } from './node-slots.js';
import { startTimer } from './timer.js';

/** One attempt of an execution; a `TaskMessage` fits. */
export interface FlowRun extends ExecutionIdentity {
  flowData: FlowGraph;
  inputs: Record<string, unknown>;
}

export interface FlowRunOptions {
  /** Aborting it ends the run as `cancelled`; its `reason` says to the caller (and to handlers) what for. */
  signal: AbortSource;
  /** Longest run, in ms; beyond it the run has failed with `timeout`, not retryable. */
  timeoutMs: number;
  /** Shared by all flows of a worker: its `maxConcurrentNodes`. */
  nodeSlots: NodeSlots;
  /** Shared by all flows of a worker too: compiled expressions are kept here. Default: one of its own. */
  expressions?: Expressions;
  /** Called with each timeline entry as it is made; must not throw. */
  onNode?: (entry: NodeTimelineEntry) => void;
  log?: NodeLogger;
  /** How long handlers may take to heed their signal, in ms. Default 1000. */
  graceMs?: number;
  /** Source of jitter, 0..1. Default `Math.random`. */
  random?: () => number;
}

export type FlowOutcome =
  | { kind: 'completed'; result: Record<string, unknown>; timeline: NodeTimelineEntry[] }
  | { kind: 'failed'; error: Failure; timeline: NodeTimelineEntry[] }
  | { kind: 'snoozed'; snoozeMs: number; timeline: NodeTimelineEntry[] }
  | { kind: 'cancelled'; timeline: NodeTimelineEntry[] };

const DEFAULT_GRACE_MS = 1000;

/** Runs one attempt of a flow from its inputs to its end. Never rejects: whatever happens is in the outcome. */
export async function runFlow(
  task: FlowRun,
  handlers: NodeHandlers,
  options: FlowRunOptions,
): Promise<FlowOutcome> {
  const timeline: NodeTimelineEntry[] = [];
  const outcome = await runChecked(task, handlers, options, (entry) => {
    timeline.push(entry);
    options.onNode?.(entry);
  });
  return outcome.kind === 'completed'
    ? { kind: 'completed', result: outcome.outputs, timeline }
    : { ...outcome, timeline };
}

async function runChecked(
  task: FlowRun,
  handlers: NodeHandlers,
  options: FlowRunOptions,
  record: (entry: NodeTimelineEntry) => void,
): Promise<GraphOutcome> {
  try {
    const error = handlers.checkGraph(task.flowData);
    if (error !== undefined) return { kind: 'failed', error };
    const graph = compileGraph(task.flowData);
    const { executionId, flowId, attempt, inputs } = task;
    return await withinTime(options, (signal) =>
      runGraph(graph, inputs, {
        execution: { executionId, flowId, attempt },
        inputs,
        keyPrefix: `${executionId}:`,
        signal,
        handlers,
        slots: options.nodeSlots,
        expressions: options.expressions ?? new Expressions(),
        log: options.log ?? (() => {}),
        graceMs: options.graceMs ?? DEFAULT_GRACE_MS,
        random: options.random ?? Math.random,
        record,
      }),
    );
  } catch (error) {
    return {
      kind: 'failed',
      error: { code: 'bad_flow', message: (error as Error).message, retryable: false },
    };
  }
}

/** Joins the caller's signal and the execution's time-out into one. */
async function withinTime(
  { signal, timeoutMs }: FlowRunOptions,
  run: (signal: AbortSource) => Promise<GraphOutcome>,
): Promise<GraphOutcome> {
  const aborter = new LazyAbort();
  const message = `the execution took longer than its limit of ${timeoutMs} ms`;
  let timedOut = false;
  const forward = () => aborter.abort(signal.reason);
  const timer = startTimer(timeoutMs, () => {
    timedOut = !aborter.aborted;
    aborter.abort(new DOMException(message, 'TimeoutError'));
  });
  signal.addEventListener('abort', forward, { once: true });
  if (signal.aborted) forward();
  try {
    const outcome = await run(aborter);
    if (!timedOut || outcome.kind !== 'cancelled') return outcome;
    return { kind: 'failed', error: { code: 'timeout', message, retryable: false } };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', forward);
  }
}
