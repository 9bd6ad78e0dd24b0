import type { FlowGraph, FlowNode } from '../../queue/contracts/flow.js';
import type { Failure } from '../../queue/contracts/reports.js';

/** How one try of a node ended. A handler that throws has failed with `node_failed`, which is retryable. */
export type NodeOutcome =
  | NodeCompleted
  | { kind: 'failed'; error: Failure }
  /** Run the whole flow again after `snoozeMs`; the attempt is not counted. */
  | { kind: 'snoozed'; snoozeMs: number }
  | { kind: 'cancelled' };

export interface NodeCompleted {
  kind: 'completed';
  /** The main output, JSON (see `engine/json-value.ts` for dates, bytes and big integers). */
  output: unknown;
  /** Named outputs; a connection from a port that is not here is inactive. */
  ports?: Record<string, unknown>;
}

export interface ExecutionIdentity {
  executionId: string;
  flowId: string;
  /** 1 for the first attempt of the execution. */
  attempt: number;
}

/** Where `log` nodes write; pino and Nest's loggers are easily fitted to it. */
export type NodeLogger = (level: LogLevel, message: string, fields: Record<string, unknown>) => void;
export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** How a graph run inside a node ended (see `map`). `outputs` maps each leaf node that completed to its output. */
export type GraphOutcome =
  | { kind: 'completed'; outputs: Record<string, unknown> }
  | { kind: 'failed'; error: Failure }
  | { kind: 'snoozed'; snoozeMs: number }
  | { kind: 'cancelled' };

/** Runs one graph per item, compiled once; aborted by `signal`. */
export type GraphRunner = (item: unknown, index: number, signal: AbortSignal) => Promise<GraphOutcome>;

/** What a handler is given. Outputs of other nodes are shared, never copied: do not change `input` or `config`. */
export interface NodeContext<Config> {
  node: FlowNode;
  /** The node's config with every `{"$expr"}` evaluated; valid under the handler's `configSchema`. */
  config: Config;
  input: unknown;
  /** The inputs of the flow (of the item, inside a `map`). */
  inputs: Record<string, unknown>;
  execution: ExecutionIdentity;
  /** The same for every try and every attempt of this node: `<executionId>:<nodeId>`, with the item inside a `map`. */
  idempotencyKey: string;
  /** Aborted on cancel, hand-back, time-out and when a sibling failed. Heed it within a second. */
  signal: AbortSignal;
  log: NodeLogger;
  /** Evaluates JSONata on `root`, with `$input`, `$inputs`, `$nodes`, `$execution` and the given variables. */
  evaluate(expression: string, root: unknown, variables?: Record<string, unknown>): Promise<unknown>;
  /** Prepares a graph to be run per item with the inputs `{item, index}`. */
  graphRunner(graph: FlowGraph): GraphRunner;
}

/** One node type: one small file, and a line in `builtin-nodes.ts`. */
export interface NodeHandler<Config = Record<string, unknown>> {
  type: string;
  description: string;
  /** JSON Schema (draft 7, ajv) of `config`; `format: "jsonata"` checks an expression's syntax. */
  configSchema: object;
  /** Output ports besides the main one. */
  ports?: readonly string[];
  /** It waits rather than works, so it holds no node slot: `delay`, and `map`, whose items take slots themselves. */
  slotless?: boolean;
  run(context: NodeContext<Config>): Promise<NodeOutcome>;
}

/**
 * A handler with its config typed, given to the engine. The cast is sound since nothing calls `run` before the
 * registry has checked the config against `configSchema`.
 */
export function defineNode<Config>(handler: NodeHandler<Config>): NodeHandler {
  return handler as unknown as NodeHandler;
}

/** The handlers as the engine sees them (`node-registry.ts` is the implementation). */
export interface NodeHandlers {
  get(type: string): NodeHandler | undefined;
  /** What is wrong with the nodes of a flow, nested ones too, as far as it can be told before anything ran. */
  checkGraph(graph: FlowGraph): Failure | undefined;
  /** What is wrong with a config after its expressions were evaluated. */
  checkConfig(node: FlowNode, config: unknown): Failure | undefined;
}

export function completed(output: unknown, ports?: Record<string, unknown>): NodeOutcome {
  return ports === undefined ? { kind: 'completed', output } : { kind: 'completed', output, ports };
}

export function failed(
  code: string,
  message: string,
  options: { retryable: boolean; details?: Record<string, unknown> },
): NodeOutcome {
  return { kind: 'failed', error: { code, message, ...options } };
}

/** The message of anything thrown, without its stack. */
export function messageOf(thrown: unknown): string {
  if (thrown instanceof Error) return thrown.message || thrown.name;
  return typeof thrown === 'string' ? thrown : 'the handler threw something that is not an Error';
}
