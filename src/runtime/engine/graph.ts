import { type ExpressionSite, findExpressions } from '../../queue/contracts/expression.js';
import { literalKeys } from '../../queue/contracts/flow-check.js';
import type { FlowConnection, FlowGraph, FlowNode } from '../../queue/contracts/flow.js';

/** A flow's graph with its names resolved to indexes, made once per run (once per `map` node, not per item). */
export interface Graph {
  nodes: readonly GraphNode[];
  edges: readonly Edge[];
}

export interface GraphNode {
  index: number;
  flowNode: FlowNode;
  incoming: readonly Edge[];
  outgoing: readonly Edge[];
  /** Where `{"$expr"}` stands in its config. */
  sites: readonly ExpressionSite[];
}

export interface Edge {
  index: number;
  from: number;
  to: number;
  when?: string;
  port?: string;
  /** The key under which a join finds this edge's value. */
  inputKey: string;
}

/** @throws RangeError when a connection names no node; `checkFlow` says it better and earlier. */
export function compileGraph({ nodes, connections }: FlowGraph): Graph {
  const compiled = nodes.map(withoutEdges);
  const edges = connections.length === 0 ? [] : edgesOf(nodes, connections);
  for (const edge of edges) {
    compiled[edge.from]!.outgoing.push(edge);
    compiled[edge.to]!.incoming.push(edge);
  }
  for (const { incoming } of compiled) if (incoming.length > 1) separatePorts(incoming);
  return { nodes: compiled, edges };
}

function withoutEdges(flowNode: FlowNode, index: number) {
  const sites = findExpressions(flowNode.config, literalKeys(flowNode));
  return { index, flowNode, incoming: [] as Edge[], outgoing: [] as Edge[], sites };
}

function edgesOf(nodes: readonly FlowNode[], connections: readonly FlowConnection[]): Edge[] {
  const indexes = new Map(nodes.map(({ id }, index) => [id, index]));
  const indexOf = (id: string): number => {
    const index = indexes.get(id);
    if (index === undefined)
      throw new RangeError(`expected connections between nodes of the flow, got "${id}"`);
    return index;
  };
  return connections.map(({ from, to, when, output }, index) => ({
    index,
    from: indexOf(from),
    to: indexOf(to),
    when,
    port: output,
    inputKey: from,
  }));
}

/** A join fed by several ports of one parent finds them under `parent` and `parent:port`, so that none is lost. */
function separatePorts(incoming: readonly Edge[]): void {
  const firstPort = new Map<number, string | undefined>();
  const several = new Set<number>();
  for (const { from, port } of incoming) {
    if (!firstPort.has(from)) firstPort.set(from, port);
    else if (firstPort.get(from) !== port) several.add(from);
  }
  for (const edge of incoming) {
    if (edge.port !== undefined && several.has(edge.from)) edge.inputKey = `${edge.inputKey}:${edge.port}`;
  }
}
