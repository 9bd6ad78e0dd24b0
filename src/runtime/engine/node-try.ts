import type { FlowGraph } from '../../queue/contracts/flow.js';
import {
  type ExecutionIdentity,
  type GraphRunner,
  messageOf,
  type NodeCompleted,
  type NodeHandlers,
  type NodeLogger,
  type NodeOutcome,
} from '../nodes/node-handler.js';
import { evaluateSites, ExpressionError, type Expressions, isTruthy } from './expressions.js';
import type { Edge, GraphNode } from './graph.js';
import { NotJsonError, toJson } from './json-value.js';
import type { LazyAbort } from './lazy-abort.js';

/** What one try needs to know of its run. */
export interface TryScope {
  run: {
    handlers: NodeHandlers;
    expressions: Expressions;
    execution: ExecutionIdentity;
    inputs: Record<string, unknown>;
    log: NodeLogger;
  };
  /** Outputs so far, by node id: `$nodes`. */
  outputs: Record<string, unknown>;
  idempotencyKey: string;
  aborter: LazyAbort;
  graphRunner(graph: FlowGraph): GraphRunner;
}

export type TryOutcome =
  Exclude<NodeOutcome, NodeCompleted> | (NodeCompleted & { activeEdges: ReadonlySet<Edge> });

/** One try of one node: config → handler → output as JSON → which edges are active. Never rejects. */
export async function tryNode(node: GraphNode, input: unknown, scope: TryScope): Promise<TryOutcome> {
  try {
    const outcome = await runHandler(node, input, scope);
    switch (outcome?.kind) {
      case 'completed': {
        const output = outcome.output === input ? input : toJson(outcome.output);
        const completed: NodeCompleted = { kind: 'completed', output, ports: portsAsJson(outcome.ports) };
        return { ...completed, activeEdges: await activeEdges(node, completed, scope) };
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
    return scope.aborter.aborted ? { kind: 'cancelled' } : failureOf(error);
  }
}

async function runHandler(
  { flowNode, sites }: GraphNode,
  input: unknown,
  scope: TryScope,
): Promise<NodeOutcome> {
  const { aborter, run } = scope;
  const { expressions, execution, handlers, inputs } = run;
  const handler = handlers.get(flowNode.type)!;
  const known = { input, inputs, nodes: scope.outputs, execution };
  const evaluate = (text: string, root: unknown, variables?: Record<string, unknown>) =>
    expressions.evaluate(text, root, { variables: { ...known, ...variables }, signal: aborter.signal });

  let config: unknown = flowNode.config ?? {};
  if (sites.length > 0) {
    config = await evaluateSites(config, sites, (text) => evaluate(text, input));
    const error = handlers.checkConfig(flowNode, config);
    if (error !== undefined) return { kind: 'failed', error };
  }
  return handler.run({
    node: flowNode,
    config: config as Record<string, unknown>,
    input,
    inputs,
    execution,
    idempotencyKey: scope.idempotencyKey,
    get signal() {
      return aborter.signal;
    },
    log: run.log,
    evaluate,
    graphRunner: scope.graphRunner,
  });
}

function portsAsJson(ports: Record<string, unknown> | undefined): Record<string, unknown> | undefined {
  return ports && Object.fromEntries(Object.entries(ports).map(([port, value]) => [port, toJson(value)]));
}

async function activeEdges(
  { outgoing }: GraphNode,
  source: NodeCompleted,
  scope: TryScope,
): Promise<Set<Edge>> {
  const active = new Set<Edge>();
  for (const edge of outgoing) {
    if (edge.port !== undefined && !Object.hasOwn(source.ports ?? {}, edge.port)) continue;
    if (edge.when === undefined || (await holds(edge.when, outputOf(source, edge), scope))) active.add(edge);
  }
  return active;
}

async function holds(
  when: string,
  output: unknown,
  { aborter, run: { expressions, inputs } }: TryScope,
): Promise<boolean> {
  return isTruthy(
    await expressions.evaluate(when, output, { variables: { inputs }, signal: aborter.signal }),
  );
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
