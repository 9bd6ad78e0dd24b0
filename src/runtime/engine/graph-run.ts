import type { FlowGraph } from '../../queue/contracts/flow.js';
import type { Failure, NodeTimelineEntry } from '../../queue/contracts/reports.js';
import type {
  ExecutionIdentity,
  GraphOutcome,
  GraphRunner,
  NodeCompleted,
  NodeHandlers,
  NodeLogger,
} from '../nodes/node-handler.js';
import type { Expressions } from './expressions.js';
import { compileGraph, type Edge, type Graph, type GraphNode } from './graph.js';
import { isoNow } from './iso-clock.js';
import { setField } from './json-value.js';
import { type AbortSource, LazyAbort } from './lazy-abort.js';
import type { NodeSlots } from './node-slots.js';
import { outputOf, type TryOutcome, tryNode, type TryScope } from './node-try.js';
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

/**
 * Runs every node of `graph` that has to, after its parents. `rootInput` goes to the nodes without parents.
 *
 * @param conclude is called once, at the end
 */
export function runGraph(
  graph: Graph,
  rootInput: unknown,
  scope: RunScope,
  conclude: (outcome: GraphOutcome) => void,
): void {
  new GraphRun(graph, rootInput, scope, conclude).start();
}

/** One node in this run of its graph. */
interface NodeRun {
  readonly node: GraphNode;
  tries: number;
  startedAt: string | undefined;
  /** The try under way. Whoever takes it away decides how it ended; a later end is not heard. */
  current: Try | undefined;
  /** Runs until the next try. */
  sleep: NodeJS.Timeout | undefined;
  completed: NodeCompleted | undefined;
  /** The one behind it among those that are ready. */
  next: NodeRun | undefined;
}

interface Try {
  readonly run: NodeRun;
  readonly holdsSlot: boolean;
  timedOut: boolean;
  /** Its own, if the node has a time-out. */
  aborter: LazyAbort | undefined;
  timer: NodeJS.Timeout | undefined;
}

const NO_EDGES: readonly Edge[] = [];
const MAX_SNOOZE_MS = 86_400_000;

/**
 * The driver: it starts tries, takes their outcomes and keeps the time. What may run is decided by `Readiness`,
 * whether to try again by `nextTryDelayMs`. Until `ending` is set nodes are started; from then on the rest is
 * aborted, and the run ends when all are back or the grace is over.
 */
class GraphRun implements TryScope {
  readonly outputs = Object.create(null) as Record<string, unknown>;
  private readonly readiness: Readiness;
  private readonly aborter = new LazyAbort();
  /** Bound: V8 may put an arrow function that is assigned to a field among its old objects, where it keeps all it holds. */
  private readonly onAbort = this.cancel.bind(this);
  /** By index of the node. */
  private readonly runs: readonly NodeRun[];
  private firstReady?: NodeRun;
  private lastReady?: NodeRun;
  /** Nodes that have a try under way, or sleep until the next. */
  private busy = 0;
  private settled = 0;
  private pausing = false;
  private withdraw?: () => void;
  private graceTimer?: NodeJS.Timeout;
  private ending?: Exclude<GraphOutcome, { kind: 'completed' }>;

  constructor(
    graph: Graph,
    private readonly rootInput: unknown,
    readonly scope: RunScope,
    private readonly conclude: (outcome: GraphOutcome) => void,
  ) {
    this.readiness = new Readiness(graph);
    this.runs = graph.nodes.map(notBegun);
  }

  start(): void {
    if (this.scope.signal.aborted) return this.conclude({ kind: 'cancelled' });
    this.scope.signal.addEventListener('abort', this.onAbort, { once: true });
    for (const run of this.runs) if (run.node.incoming.length === 0) this.enqueue(run);
    this.proceed();
  }

  graphRunner(mapId: string, flow: FlowGraph): GraphRunner {
    const graph = compileGraph(flow);
    return (item, index, signal) =>
      new Promise((resolve) => runGraph(graph, item, this.itemScope(mapId, item, index, signal), resolve));
  }

  private cancel(): void {
    this.stop({ kind: 'cancelled' }, this.scope.signal.reason);
    this.proceed();
  }

  private enqueue(run: NodeRun): void {
    if (this.scope.handlers.get(run.node.flowNode.type)?.slotless === true) return this.begin(run, false);
    if (this.lastReady === undefined) this.firstReady = run;
    else this.lastReady.next = run;
    this.lastReady = run;
  }

  /** After anything happened: start what can be started, end when nothing is left. */
  private proceed(): void {
    this.startReady();
    if (this.busy > 0) return;
    if (this.ending === undefined && this.firstReady !== undefined) return;
    this.finish(this.ending ?? this.completion());
  }

  private startReady(): void {
    while (this.ending === undefined && this.firstReady !== undefined) {
      if (this.pausing || this.withdraw !== undefined) return;
      if (this.scope.expressions.breath.due()) return this.pause();
      if (!this.scope.slots.tryTake()) return this.waitForSlot();
      this.begin(this.takeReady(), true);
    }
  }

  private takeReady(): NodeRun {
    const run = this.firstReady!;
    this.firstReady = run.next;
    if (this.firstReady === undefined) this.lastReady = undefined;
    run.next = undefined;
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
    run.startedAt ??= isoNow();
    const started: Try = { run, holdsSlot, timedOut: false, aborter: undefined, timer: undefined };
    run.current = started;
    this.busy += 1;
    const aborter = this.aborterFor(started);
    void tryNode(run.node, this.inputOf(run.node), aborter, this).then((outcome) =>
      this.ended(started, outcome),
    );
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
    return outputOf(this.runs[edge.from]!.completed!, edge);
  }

  private ended(ended: Try, outcome: TryOutcome): void {
    const { run } = ended;
    if (run.current !== ended) return;
    run.current = undefined;
    this.busy -= 1;
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
        run.completed = outcome;
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
    this.busy += 1;
    run.sleep = startTimer(delayMs, () => {
      run.sleep = undefined;
      this.busy -= 1;
      this.enqueue(run);
      this.proceed();
    });
  }

  private advance(node: GraphNode, activeEdges: readonly Edge[]): void {
    const { ready, skipped } = this.readiness.settle(node, activeEdges);
    for (const { index } of skipped) this.record(this.runs[index]!, 'skipped');
    for (const { index } of ready) this.enqueue(this.runs[index]!);
  }

  private record(
    { node, tries, startedAt }: NodeRun,
    state: NodeTimelineEntry['state'],
    error?: Failure,
  ): void {
    this.settled += 1;
    if (this.scope.record === undefined) return;
    const { id: nodeId, type } = node.flowNode;
    const entry: NodeTimelineEntry = { nodeId, type, state, tries, finishedAt: isoNow() };
    if (startedAt !== undefined) entry.startedAt = startedAt;
    if (error !== undefined) entry.error = error;
    this.scope.record(entry);
  }

  /** From now on nothing is started; the first reason to stop is the one that counts. */
  private stop(ending: NonNullable<GraphRun['ending']>, reason?: unknown): void {
    if (this.ending !== undefined) return;
    this.ending = ending;
    this.withdraw?.();
    for (const run of this.runs) if (run.sleep !== undefined) this.giveUp(run);
    this.graceTimer = startTimer(this.scope.graceMs, () => this.abandon());
    this.aborter.abort(reason);
    for (const { current } of this.runs) current?.aborter?.abort(this.aborter.reason);
  }

  /** Handlers that do not heed their signal are left alone: their slot is free again, their end is not heard. */
  private abandon(): void {
    for (const run of this.runs) if (run.current !== undefined) this.giveUp(run);
    this.proceed();
  }

  /** Its try is not heard any more; or it will not be tried again. */
  private giveUp(run: NodeRun): void {
    const { current, sleep } = run;
    run.current = undefined;
    run.sleep = undefined;
    this.busy -= 1;
    this.record(run, 'cancelled');
    clearTimeout(sleep);
    if (current !== undefined) this.leave(current);
  }

  private completion(): GraphOutcome {
    const missing = this.runs.length - this.settled;
    if (missing > 0) {
      const message = `expected a flow without cycles, got one in which ${missing} nodes never become ready`;
      return { kind: 'failed', error: { code: 'bad_flow', message, retryable: false } };
    }
    const outputs: Record<string, unknown> = {};
    for (const { node, completed } of this.runs)
      if (completed !== undefined && node.outgoing.length === 0)
        setField(outputs, node.flowNode.id, completed.output);
    return { kind: 'completed', outputs };
  }

  private finish(outcome: GraphOutcome): void {
    clearTimeout(this.graceTimer);
    this.scope.signal.removeEventListener('abort', this.onAbort);
    this.conclude(outcome);
  }
}

function notBegun(node: GraphNode): NodeRun {
  return {
    node,
    tries: 0,
    startedAt: undefined,
    current: undefined,
    sleep: undefined,
    completed: undefined,
    next: undefined,
  };
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
