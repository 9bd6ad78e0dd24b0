import type { FlowConnection, FlowNode } from '../../../src/queue/contracts/flow.js';
import { type FlowOutcome, type FlowRunOptions, runFlow } from '../../../src/runtime/engine/run-flow.js';
import { NodeSlots } from '../../../src/runtime/engine/node-slots.js';
import { dataFilterNode } from '../../../src/runtime/nodes/data-filter.node.js';
import { dataTransformNode } from '../../../src/runtime/nodes/data-transform.node.js';
import { delayNode } from '../../../src/runtime/nodes/delay.node.js';
import { logNode } from '../../../src/runtime/nodes/log.node.js';
import { mapNode } from '../../../src/runtime/nodes/map.node.js';
import {
  completed,
  type NodeContext,
  type NodeHandler,
  type NodeOutcome,
} from '../../../src/runtime/nodes/node-handler.js';
import { NodeRegistry } from '../../../src/runtime/nodes/node-registry.js';

const LOCAL_NODES = [dataFilterNode, dataTransformNode, delayNode, logNode, mapNode];

type Context = NodeContext<Record<string, unknown>>;

/** A handler made for one test; by default it passes its input on. */
export function testNode(
  type: string,
  run: (context: Context) => Promise<NodeOutcome> = async ({ input }) => completed(input),
  more: Partial<NodeHandler> = {},
): NodeHandler {
  return { type, description: type, configSchema: { type: 'object' }, run, ...more };
}

export interface RunSettings extends Partial<FlowRunOptions> {
  handlers?: NodeHandler[];
  /** Instead of `handlers`: made once for many runs. */
  registry?: NodeRegistry;
  inputs?: Record<string, unknown>;
  executionId?: string;
}

export function registryOf(handlers: NodeHandler[] = []): NodeRegistry {
  return new NodeRegistry([...LOCAL_NODES, ...handlers]);
}

/** Runs a flow of the built-in nodes (those that connect to nothing) and the given ones. */
export function run(
  nodes: FlowNode[],
  connections: FlowConnection[],
  settings: RunSettings = {},
): Promise<FlowOutcome> {
  const { handlers, inputs = {}, executionId = 'e1', registry = registryOf(handlers), ...options } = settings;
  const task = { executionId, flowId: 'f1', attempt: 1, flowData: { nodes, connections }, inputs };
  return runFlow(task, registry, {
    signal: new AbortController().signal,
    timeoutMs: 30_000,
    nodeSlots: new NodeSlots(8),
    ...options,
  });
}

export const node = (id: string, type: string, more: Partial<FlowNode> = {}): FlowNode => ({
  id,
  type,
  ...more,
});
export const link = (from: string, to: string, more: Partial<FlowConnection> = {}): FlowConnection => ({
  from,
  to,
  ...more,
});

/** Resolves when `signal` is aborted, as a well-behaved handler's wait does. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** A promise to be settled from outside: tests wait for signals, never for time. */
export function gate<T = void>() {
  let open!: (value: T) => void;
  const passed = new Promise<T>((resolve) => (open = resolve));
  return { open, passed };
}

export function states(outcome: FlowOutcome): Record<string, string> {
  return Object.fromEntries(outcome.timeline.map(({ nodeId, state }) => [nodeId, state]));
}
