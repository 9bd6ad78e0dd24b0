import type { Failure, NodeTimelineEntry } from '../../queue/contracts/reports.js';
import type {
  ExecutionIdentity,
  GraphOutcome,
  NodeCompleted,
  NodeHandlers,
  NodeLogger,
} from '../nodes/node-handler.js';
import type { Expressions } from './expressions.js';
import { compileGraph, type Edge, type Graph, type GraphNode } from './graph.js';
import { type AbortSource, LazyAbort } from './lazy-abort.js';
import type { NodeSlots } from './node-slots.js';
import { outputOf, type TryOutcome, tryNode } from './node-try.js';
import { Readiness } from './readiness.js';
import { nextTryDelayMs } from './retry.js';
import { startTimer } from './timer.js';

/** What a run of a graph is given, at the top as for each item of a `map`. */
export interface RunScope {
  execution: ExecutionIdentity;
  inputs: Record<string, unknown>;
  /** What the node id is appended to: `<executionId>:`, inside a `map` `<executionId>:<mapId>[<index>]:`. */
  keyPrefix: string;
  signal: AbortSource;
  handlers: NodeHandlers;
  slots: NodeSlots;
  expressions: Expressions;
  log: NodeLogger;
  /** How long handlers may take to heed an aborted signal before they are left alone, in ms. */
  graceMs: number;
  /** For jitter: 0..1. */
  random: () => number;
  /** Called once per node that ended or was skipped; must not throw. */
  record?: (entry: NodeTimelineEntry) => void;
}

/** Runs every node of `graph` that has to, after its parents. `rootInput` goes to the nodes without parents. */
export function runGraph(graph: Graph, rootInput: unknown, scope: RunScope): Promise<GraphOutcome> {
  return new Promise((resolve) => new GraphRun(graph, rootInput, scope, resolve).start());
}

interface NodeRun {
  node: GraphNode;
  tries: number;
  startedAt?: string;
}

/** One try under way. Whoever takes it out of `running` decides how it ended; a later end is not heard. */
interface Try {
  run: NodeRun;
  holdsSlot: boolean;
  timedOut: boolean;
  aborter?: LazyAbort;
  timer?: NodeJS.Timeout;
}

const NO_EDGES: ReadonlySet<Edge> = new Set();
const MAX_SNOOZE_MS = 86_400_000;

/**
 * The driver: it starts tries, takes their outcomes and keeps the time. What may run is decided by `Readiness`,
 * whether to try again by `nextTryDelayMs`. Until `ending` is set nodes are started; from then on the rest is
 * aborted, and the run ends when all are back or the grace is over.
 */
class GraphRun {
  private readonly readiness: Readiness;
  private readonly aborter = new LazyAbort();
  private readonly completed = new Map<number, NodeCompleted>();
  private readonly outputs = Object.create(null) as Record<string, unknown>;
  private readonly running = new Set<Try>();
  private readonly sleeping = new Map<NodeRun, NodeJS.Timeout>();
  private ready: NodeRun[] = [];
  private nextReady = 0;
  private settled = 0;
  private pausing = false;
  private withdraw?: () => void;
  private graceTimer?: NodeJS.Timeout;
  private ending?: Exclude<GraphOutcome, { kind: 'completed' }>;

  constructor(
    private readonly graph: Graph,
    private readonly rootInput: unknown,
    private readonly scope: RunScope,
    private readonly conclude: (outcome: GraphOutcome) => void,
  ) {
    this.readiness = new Readiness(graph);
  }

  start(): void {
    if (this.scope.signal.aborted) return this.conclude({ kind: 'cancelled' });
    this.scope.signal.addEventListener('abort', this.onAbort, { once: true });
    for (const node of this.readiness.roots()) this.enqueue({ node, tries: 0 });
    this.proceed();
  }

  private readonly onAbort = () => {
    this.stop({ kind: 'cancelled' }, this.scope.signal.reason);
    this.proceed();
  };

  private enqueue(run: NodeRun): void {
    if (this.scope.handlers.get(run.node.flowNode.type)?.slotless === true) this.begin(run, false);
    else this.ready.push(run);
  }

  /** After anything happened: start what can be started, end when nothing is left. */
  private proceed(): void {
    this.startReady();
    if (this.running.size > 0 || this.sleeping.size > 0) return;
    if (this.ending === undefined && this.nextReady < this.ready.length) return;
    this.finish(this.ending ?? this.completion());
  }

  private startReady(): void {
    while (this.ending === undefined && this.nextReady < this.ready.length) {
      if (this.pausing || this.withdraw !== undefined) return;
      if (this.scope.expressions.breath.due()) return this.pause();
      if (!this.scope.slots.tryTake()) return this.waitForSlot();
      this.begin(this.takeReady(), true);
    }
  }

  private takeReady(): NodeRun {
    const run = this.ready[this.nextReady++]!;
    if (this.nextReady === this.ready.length) {
      this.ready = [];
      this.nextReady = 0;
    }
    return run;
  }

  private waitForSlot(): void {
    this.withdraw = this.scope.slots.wait(() => {
      this.withdraw = undefined;
      this.begin(this.takeReady(), true);
      this.proceed();
    });
  }

  private pause(): void {
    this.pausing = true;
    void this.scope.expressions.breath.take().then(() => {
      this.pausing = false;
      if (this.ending === undefined) this.proceed();
    });
  }

  private begin(run: NodeRun, holdsSlot: boolean): void {
    run.tries += 1;
    run.startedAt ??= new Date().toISOString();
    const started: Try = { run, holdsSlot, timedOut: false };
    this.running.add(started);
    const aborter = this.aborterFor(started);
    const { flowNode } = run.node;
    void tryNode(run.node, this.inputOf(run.node), {
      run: this.scope,
      outputs: this.outputs,
      idempotencyKey: this.scope.keyPrefix + flowNode.id,
      aborter,
      graphRunner: (flow) => {
        const graph = compileGraph(flow);
        return (item, index, itemSignal) =>
          runGraph(graph, item, this.itemScope(flowNode.id, item, index, itemSignal));
      },
    }).then((outcome) => this.ended(started, outcome));
  }

  private itemScope(mapId: string, item: unknown, index: number, signal: AbortSignal): RunScope {
    const keyPrefix = `${this.scope.keyPrefix}${mapId}[${index}]:`;
    return { ...this.scope, inputs: { item, index }, keyPrefix, signal, record: undefined };
  }

  /** The run's own, unless the node has a time-out: then one for this try alone. */
  private aborterFor(started: Try): LazyAbort {
    const { timeoutMs } = started.run.node.flowNode;
    if (timeoutMs === undefined) return this.aborter;
    const aborter = new LazyAbort();
    started.aborter = aborter;
    started.timer = startTimer(timeoutMs, () => {
      started.timedOut = true;
      started.timer = startTimer(this.scope.graceMs, () => this.ended(started, { kind: 'cancelled' }));
      aborter.abort(new DOMException(timeoutMessage(timeoutMs), 'TimeoutError'));
    });
    return aborter;
  }

  private inputOf({ incoming }: GraphNode): unknown {
    const [only] = incoming;
    if (only === undefined) return this.rootInput;
    if (incoming.length === 1) return this.carriedBy(only);
    const active = incoming.filter((edge) => this.readiness.isActive(edge));
    return Object.fromEntries(active.map((edge) => [edge.inputKey, this.carriedBy(edge)]));
  }

  private carriedBy(edge: Edge): unknown {
    return outputOf(this.completed.get(edge.from)!, edge);
  }

  private ended(ended: Try, outcome: TryOutcome): void {
    if (!this.running.delete(ended)) return;
    const { run } = ended;
    if (this.ending !== undefined) this.record(run, outcome.kind === 'completed' ? 'completed' : 'cancelled');
    else if (ended.timedOut) this.fail(run, timeoutFailure(run.node.flowNode.timeoutMs!));
    else this.apply(run, outcome);
    this.leave(ended);
    this.proceed();
  }

  /** The slot is given back last: it may start a waiting node at once, which a failure must have withdrawn before. */
  private leave({ timer, holdsSlot }: Try): void {
    clearTimeout(timer);
    if (holdsSlot) this.scope.slots.release();
  }

  private apply(run: NodeRun, outcome: TryOutcome): void {
    switch (outcome.kind) {
      case 'completed':
        this.completed.set(run.node.index, outcome);
        this.outputs[run.node.flowNode.id] = outcome.output;
        this.record(run, 'completed');
        return this.advance(run.node, outcome.activeEdges);
      case 'failed':
        return this.fail(run, outcome.error);
      case 'snoozed':
        this.record(run, 'cancelled');
        return this.stop({ kind: 'snoozed', snoozeMs: validSnooze(outcome.snoozeMs) });
      case 'cancelled':
        this.record(run, 'cancelled');
        return this.stop({ kind: 'cancelled' });
    }
  }

  private fail(run: NodeRun, cause: Failure): void {
    const { id, retry, onError } = run.node.flowNode;
    const error = { ...cause, nodeId: id };
    const delayMs = nextTryDelayMs(retry, run.tries, error, this.scope.random());
    if (delayMs !== undefined) return this.sleep(run, delayMs);
    this.record(run, 'failed', error);
    if (onError === 'continue') this.advance(run.node, NO_EDGES);
    else this.stop({ kind: 'failed', error });
  }

  /** Between tries a node holds no slot. */
  private sleep(run: NodeRun, delayMs: number): void {
    const wake = () => {
      this.sleeping.delete(run);
      this.enqueue(run);
      this.proceed();
    };
    this.sleeping.set(run, startTimer(delayMs, wake));
  }

  private advance(node: GraphNode, activeEdges: ReadonlySet<Edge>): void {
    const { ready, skipped } = this.readiness.settle(node, activeEdges);
    for (const other of skipped) this.record({ node: other, tries: 0 }, 'skipped');
    for (const other of ready) this.enqueue({ node: other, tries: 0 });
  }

  private record(
    { node, tries, startedAt }: NodeRun,
    state: NodeTimelineEntry['state'],
    error?: Failure,
  ): void {
    this.settled += 1;
    if (this.scope.record === undefined) return;
    const { id: nodeId, type } = node.flowNode;
    const entry: NodeTimelineEntry = { nodeId, type, state, tries, finishedAt: new Date().toISOString() };
    if (startedAt !== undefined) entry.startedAt = startedAt;
    if (error !== undefined) entry.error = error;
    this.scope.record(entry);
  }

  /** From now on nothing is started; the first reason to stop is the one that counts. */
  private stop(ending: NonNullable<GraphRun['ending']>, reason?: unknown): void {
    if (this.ending !== undefined) return;
    this.ending = ending;
    this.withdraw?.();
    for (const [run, timer] of this.sleeping) {
      clearTimeout(timer);
      this.record(run, 'cancelled');
    }
    this.sleeping.clear();
    this.graceTimer = startTimer(this.scope.graceMs, () => this.abandon());
    this.aborter.abort(reason);
    for (const { aborter } of this.running) aborter?.abort(this.aborter.reason);
  }

  /** Handlers that do not heed their signal are left alone: their slot is free again, their end is not heard. */
  private abandon(): void {
    for (const left of this.running) {
      this.record(left.run, 'cancelled');
      this.leave(left);
    }
    this.running.clear();
    this.proceed();
  }

  private completion(): GraphOutcome {
    const missing = this.graph.nodes.length - this.settled;
    if (missing > 0) {
      const message = `expected a flow without cycles, got one in which ${missing} nodes never become ready`;
      return { kind: 'failed', error: { code: 'bad_flow', message, retryable: false } };
    }
    const leaves = this.graph.nodes.filter(
      ({ index, outgoing }) => outgoing.length === 0 && this.completed.has(index),
    );
    const outputs = leaves.map(
      ({ index, flowNode }) => [flowNode.id, this.completed.get(index)!.output] as const,
    );
    return { kind: 'completed', outputs: Object.fromEntries(outputs) };
  }

  private finish(outcome: GraphOutcome): void {
    clearTimeout(this.graceTimer);
    this.scope.signal.removeEventListener('abort', this.onAbort);
    this.conclude(outcome);
  }
}

function timeoutMessage(timeoutMs: number): string {
  return `the node took longer than its limit of ${timeoutMs} ms`;
}

function timeoutFailure(timeoutMs: number): Failure {
  return { code: 'node_timeout', message: timeoutMessage(timeoutMs), retryable: true };
}

function validSnooze(snoozeMs: number): number {
  return Number.isFinite(snoozeMs) ? Math.min(Math.max(Math.round(snoozeMs), 0), MAX_SNOOZE_MS) : 0;
}
