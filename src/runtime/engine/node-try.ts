import type { ExpressionSite } from '../../queue/contracts/expression.js';
import type { FlowGraph, FlowNode } from '../../queue/contracts/flow.js';
import {
  type ExecutionIdentity,
  type GraphRunner,
  messageOf,
  type NodeCompleted,
  type NodeContext,
  type NodeHandlers,
  type NodeLogger,
  type NodeOutcome,
} from '../nodes/node-handler.js';
import { evaluateSites, ExpressionError, type Expressions, isTruthy } from './expressions.js';
import type { Edge, GraphNode } from './graph.js';
import { NotJsonError, toJson } from './json-value.js';
import type { LazyAbort } from './lazy-abort.js';

/** What a try needs to know of the run of its graph. */
export interface TryScope {
  readonly scope: {
    handlers: NodeHandlers;
    expressions: Expressions;
    execution: ExecutionIdentity;
    inputs: Record<string, unknown>;
    keyPrefix: string;
    log: NodeLogger;
  };
  /** Outputs so far, by node id: `$nodes`. */
  readonly outputs: Record<string, unknown>;
  /** Prepares a graph to be run for each item of the node `mapId`. */
  graphRunner(mapId: string, graph: FlowGraph): GraphRunner;
}

export type TryOutcome =
  Exclude<NodeOutcome, NodeCompleted> | (NodeCompleted & { activeEdges: readonly Edge[] });

/** One try of one node: config → handler → output as JSON → which edges are active. Never rejects. */
export async function tryNode(
  node: GraphNode,
  input: unknown,
  aborter: LazyAbort,
  run: TryScope,
): Promise<TryOutcome> {
  try {
    const { flowNode, sites, outgoing } = node;
    const { handlers } = run.scope;
    const context = new TryContext(flowNode, input, aborter, run);
    if (sites.length > 0) {
      context.config = await evaluateConfig(context, sites);
      const error = handlers.checkConfig(flowNode, context.config);
      if (error !== undefined) return { kind: 'failed', error };
    }
    const outcome = await handlers.get(flowNode.type)!.run(context);
    switch (outcome?.kind) {
      case 'completed': {
        const output = outcome.output === input ? input : toJson(outcome.output);
        const ports = portsAsJson(outcome.ports);
        const completed: TryOutcome = { kind: 'completed', output, ports, activeEdges: outgoing };
        if (!outgoing.every(isUnconditional))
          completed.activeEdges = await activeEdges(outgoing, completed, context, run);
        return completed;
      }
      case 'failed':
      case 'snoozed':
      case 'cancelled':
        return outcome;
      default:
        throw new TypeError(
          `expected an outcome (completed, failed, snoozed, cancelled), got ${JSON.stringify(outcome)}`,
        );
    }
  } catch (error) {
    return aborter.aborted ? { kind: 'cancelled' } : failureOf(error);
  }
}

/** What a handler asks for is made when it asks: most ask for little. Its functions may be taken out of it. */
class TryContext implements NodeContext<Record<string, unknown>> {
  config: Record<string, unknown>;
  // No handler shall find them, nor a log that shows a context.
  readonly #aborter: LazyAbort;
  readonly #run: TryScope;

  constructor(
    readonly node: FlowNode,
    readonly input: unknown,
    aborter: LazyAbort,
    run: TryScope,
  ) {
    this.config = node.config ?? {};
    this.#aborter = aborter;
    this.#run = run;
  }

  get inputs(): Record<string, unknown> {
    return this.#run.scope.inputs;
  }
  get execution(): ExecutionIdentity {
    return this.#run.scope.execution;
  }
  get idempotencyKey(): string {
    return this.#run.scope.keyPrefix + this.node.id;
  }
  get signal(): AbortSignal {
    return this.#aborter.signal;
  }
  get log(): NodeLogger {
    return this.#run.scope.log;
  }
  get evaluate(): NodeContext<unknown>['evaluate'] {
    const { input, inputs, execution } = this;
    const [run, aborter] = [this.#run, this.#aborter];
    const known = { input, inputs, nodes: run.outputs, execution };
    return (text, root, variables) =>
      run.scope.expressions.evaluate(text, root, {
        variables: { ...known, ...variables },
        signal: aborter.signal,
      });
  }
  get graphRunner(): NodeContext<unknown>['graphRunner'] {
    return (graph) => this.#run.graphRunner(this.node.id, graph);
  }
}

async function evaluateConfig(
  { config, input, evaluate }: TryContext,
  sites: readonly ExpressionSite[],
): Promise<Record<string, unknown>> {
  const evaluated = await evaluateSites(config, sites, (text) => evaluate(text, input));
  return evaluated as Record<string, unknown>;
}

function portsAsJson(ports: Record<string, unknown> | undefined): Record<string, unknown> | undefined {
  return ports && Object.fromEntries(Object.entries(ports).map(([port, value]) => [port, toJson(value)]));
}

function isUnconditional({ port, when }: Edge): boolean {
  return port === undefined && when === undefined;
}

async function activeEdges(
  outgoing: readonly Edge[],
  source: NodeCompleted,
  context: TryContext,
  run: TryScope,
): Promise<Edge[]> {
  const active: Edge[] = [];
  for (const edge of outgoing) {
    if (edge.port !== undefined && !Object.hasOwn(source.ports ?? {}, edge.port)) continue;
    if (edge.when === undefined || (await holds(edge.when, outputOf(source, edge), context, run)))
      active.push(edge);
  }
  return active;
}

/** A condition is on the output alone: of the variables it has `$inputs`. */
async function holds(
  when: string,
  output: unknown,
  { inputs, signal }: TryContext,
  run: TryScope,
): Promise<boolean> {
  return isTruthy(await run.scope.expressions.evaluate(when, output, { variables: { inputs }, signal }));
}

export function outputOf({ output, ports }: NodeCompleted, { port }: Edge): unknown {
  return port === undefined ? output : ports?.[port];
}

function failureOf(error: unknown): TryOutcome {
  const message = messageOf(error);
  if (error instanceof ExpressionError)
    return { kind: 'failed', error: { code: 'bad_expression', message, retryable: false } };
  if (error instanceof NotJsonError)
    return { kind: 'failed', error: { code: 'bad_output', message, retryable: false } };
  return { kind: 'failed', error: { code: 'node_failed', message, retryable: true } };
}
