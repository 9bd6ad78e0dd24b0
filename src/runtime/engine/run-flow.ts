import type { FlowGraph } from '../../queue/contracts/flow.js';
import type { Failure, NodeTimelineEntry } from '../../queue/contracts/reports.js';
import type { ExecutionIdentity, GraphOutcome, NodeHandlers, NodeLogger } from '../nodes/node-handler.js';
import { Expressions } from './expressions.js';
import { compileGraph } from './graph.js';
import { runGraph, type RunScope } from './graph-run.js';
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
export function runFlow(
  task: FlowRun,
  handlers: NodeHandlers,
  options: FlowRunOptions,
): Promise<FlowOutcome> {
  return new Promise((resolve) => {
    const timeline: NodeTimelineEntry[] = [];
    const limit = new TimeLimit(options.timeoutMs, options.signal);
    const conclude = (outcome: GraphOutcome) => {
      limit.end();
      resolve(flowOutcome(outcome, limit, timeline));
    };
    try {
      const error = handlers.checkGraph(task.flowData);
      if (error !== undefined) return conclude({ kind: 'failed', error });
      const scope = scopeOf(task, handlers, options, limit.aborter, timeline);
      runGraph(compileGraph(task.flowData), task.inputs, scope, conclude);
    } catch (thrown) {
      const message = (thrown as Error).message;
      conclude({ kind: 'failed', error: { code: 'bad_flow', message, retryable: false } });
    }
  });
}

function flowOutcome(outcome: GraphOutcome, limit: TimeLimit, timeline: NodeTimelineEntry[]): FlowOutcome {
  if (outcome.kind === 'completed') return { kind: 'completed', result: outcome.outputs, timeline };
  return outcome.kind === 'cancelled' && limit.hasPassed
    ? { kind: 'failed', error: limit.failure(), timeline }
    : { ...outcome, timeline };
}

function scopeOf(
  { executionId, flowId, attempt, inputs }: FlowRun,
  handlers: NodeHandlers,
  options: FlowRunOptions,
  signal: AbortSource,
  timeline: NodeTimelineEntry[],
): RunScope {
  return {
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
    record: (entry) => {
      timeline.push(entry);
      options.onNode?.(entry);
    },
  };
}

/** Joins the caller's signal and the execution's time-out into one. */
class TimeLimit {
  readonly aborter = new LazyAbort();
  /** It was the time-out that aborted, and not the caller. */
  hasPassed = false;
  private readonly timer: NodeJS.Timeout;
  /** Bound: V8 may put an arrow function that is assigned to a field among its old objects, where it keeps all it holds. */
  private readonly onAbort = this.forward.bind(this);

  constructor(
    private readonly timeoutMs: number,
    private readonly caller: AbortSource,
  ) {
    this.timer = startTimer(timeoutMs, () => this.pass());
    caller.addEventListener('abort', this.onAbort, { once: true });
    if (caller.aborted) this.forward();
  }

  failure(): Failure {
    return { code: 'timeout', message: this.message(), retryable: false };
  }

  end(): void {
    clearTimeout(this.timer);
    this.caller.removeEventListener('abort', this.onAbort);
  }

  private forward(): void {
    this.aborter.abort(this.caller.reason);
  }

  private pass(): void {
    this.hasPassed = !this.aborter.aborted;
    this.aborter.abort(new DOMException(this.message(), 'TimeoutError'));
  }

  private message(): string {
    return `the execution took longer than its limit of ${this.timeoutMs} ms`;
  }
}
