import type { Edge, Graph, GraphNode } from './graph.js';

export interface Decided {
  /** Nodes that may run now. */
  ready: GraphNode[];
  /** Nodes that never will, in the order in which that became known. */
  skipped: GraphNode[];
}

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
    this.undecided = graph.nodes.map(({ incoming }) => incoming.length);
    this.reached = graph.nodes.map(() => false);
    this.active = graph.edges.map(() => false);
  }

  roots(): GraphNode[] {
    return this.graph.nodes.filter(({ incoming }) => incoming.length === 0);
  }

  isActive(edge: Edge): boolean {
    return this.active[edge.index]!;
  }

  /** The node ended, and `activeEdges` are those of its outgoing edges that carry its output on. */
  settle(node: GraphNode, activeEdges: ReadonlySet<Edge>): Decided {
    const decided: Decided = { ready: [], skipped: [] };
    const ended = [node];
    for (let next = ended.pop(); next !== undefined; next = ended.pop()) {
      for (const edge of next.outgoing) {
        const active = next === node && activeEdges.has(edge);
        const target = this.graph.nodes[edge.to]!;
        if (active) this.active[edge.index] = this.reached[edge.to] = true;
        const left = --this.undecided[edge.to]!;
        if (left > 0) continue;
        if (this.reached[edge.to]) decided.ready.push(target);
        else {
          decided.skipped.push(target);
          ended.push(target);
        }
      }
    }
    return decided;
  }
}
