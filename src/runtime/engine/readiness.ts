import type { Edge, Graph, GraphNode } from './graph.js';

export interface Decided {
  /** Nodes that may run now. */
  ready: readonly GraphNode[];
  /** Nodes that never will, in the order in which that became known. */
  skipped: readonly GraphNode[];
}

const countIncoming = ({ incoming }: GraphNode) => incoming.length;
const notYet = () => false;
const NOTHING: Decided = { ready: [], skipped: [] };

/**
 * Which nodes may run: a node is decided once all its incoming edges are. It runs if at least one of them is
 * active or it has none; else it is skipped, and so its outgoing edges are inactive. Each edge is looked at
 * twice at most, however wide the join (after Kahn, 1962).
 */
export class Readiness {
  private readonly undecided: number[];
  private readonly reached: boolean[];
  private readonly active: boolean[];

  constructor(private readonly graph: Graph) {
    this.undecided = graph.nodes.map(countIncoming);
    this.reached = graph.nodes.map(notYet);
    this.active = graph.edges.map(notYet);
  }

  isActive(edge: Edge): boolean {
    return this.active[edge.index]!;
  }

  /** The node ended, and `activeEdges` are those of its outgoing edges that carry its output on. */
  settle(node: GraphNode, activeEdges: readonly Edge[]): Decided {
    if (node.outgoing.length === 0) return NOTHING;
    for (const { index, to } of activeEdges) this.active[index] = this.reached[to] = true;
    const ready: GraphNode[] = [];
    const skipped: GraphNode[] = [];
    const ended = [node];
    for (let next = ended.pop(); next !== undefined; next = ended.pop()) {
      for (const { to } of next.outgoing) {
        const left = --this.undecided[to]!;
        if (left > 0) continue;
        const target = this.graph.nodes[to]!;
        if (this.reached[to]) ready.push(target);
        else {
          skipped.push(target);
          ended.push(target);
        }
      }
    }
    return { ready, skipped };
  }
}
