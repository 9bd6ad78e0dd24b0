import { Ajv, type ValidateFunction } from 'ajv';
import { ExpressionCache, findExpressions, MAX_EXPRESSION_LENGTH } from './expression.js';
import {
  flowDataSchema,
  type FlowConnection,
  type FlowGraph,
  flowGraphSchema,
  type FlowNode,
} from './flow.js';
import { escapePointer, isDeeperThan, preview, schemaProblems } from './schema-problems.js';

/** The rules of a flow that its shape alone cannot express. Pure: what it says depends on its arguments only. */

export interface FlowLimits {
  /** Nodes in all, those of nested `map` flows counted once each. */
  maxNodes: number;
  /** Connections in all, counted likewise. */
  maxConnections: number;
  /** How deep `map` nodes may nest: 0 = no `map`, 1 = a `map` whose flow holds none. */
  maxDepth: number;
}

/** Levels of JSON in a whole flow: far above any real one, far below what `JSON.stringify` can recurse. */
export const MAX_JSON_DEPTH = 500;
/** More problems than this help nobody: the rest is left out. */
const MAX_PROBLEMS = 100;
const MAX_CYCLE_NAMES = 50;

export interface FlowProblem {
  /** JSON pointer relative to the flow data, for example `/nodes/3/type`; empty for the whole. */
  pointer: string;
  /** What was expected and what came. */
  message: string;
  /** The limit that was passed, where that is the problem. */
  limit?: keyof FlowLimits | 'maxJsonDepth';
}

const ajv = new Ajv({ allErrors: true, verbose: true, strict: true });
const validateFlow = ajv.compile<FlowGraph>(flowDataSchema);
const validateGraph = ajv.compile<FlowGraph>(flowGraphSchema);
const expressions = new ExpressionCache();

interface Level {
  graph: unknown;
  pointer: string;
  depth: number;
}

/**
 * Parsing takes quadratic time on some texts (`a@$x.b@$x.b…`), 90 ms for the longest, and a flow has room for many.
 * So as much is parsed as squares of lengths fit in here: two of the longest expressions, or 5000 of 300 characters.
 * Those that are left over are found to be wrong when they are used.
 */
const PARSE_BUDGET = 2 * MAX_EXPRESSION_LENGTH ** 2;

/** Everything that is wrong with a flow, `[]` when nothing is. Takes O(nodes + connections). */
export function checkFlow(flowData: unknown, limits: FlowLimits): FlowProblem[] {
  if (isDeeperThan(flowData, MAX_JSON_DEPTH)) {
    return [
      {
        pointer: '',
        message: `expected at most ${MAX_JSON_DEPTH} levels of JSON, got more`,
        limit: 'maxJsonDepth',
      },
    ];
  }
  const problems: FlowProblem[] = [];
  const levels: Level[] = [{ graph: flowData, pointer: '', depth: 0 }];
  const counted = { nodes: 0, connections: 0 };
  const parsing = { budget: PARSE_BUDGET };
  for (let level = levels.shift(); level !== undefined; level = levels.shift()) {
    const exceeded = count(level, counted, limits);
    if (exceeded.length > 0) return [...problems, ...exceeded].slice(0, MAX_PROBLEMS);
    const graph = asGraph(level, problems);
    if (graph === undefined) continue;
    problems.push(...graphProblems(graph, level.pointer, parsing));
    levels.push(...nestedLevels(graph, level));
    if (problems.length >= MAX_PROBLEMS) break;
  }
  return problems.slice(0, MAX_PROBLEMS);
}

/** The sorted, distinct node types of a graph and of the flows inside its `map` nodes. */
export function requiredNodeTypes(graph: FlowGraph): string[] {
  const types = new Set<string>();
  const graphs: FlowGraph[] = [graph];
  for (let current = graphs.pop(); current !== undefined; current = graphs.pop()) {
    for (const node of current.nodes) {
      types.add(node.type);
      const nested = nestedGraph(node);
      if (nested !== undefined) graphs.push(nested);
    }
  }
  return [...types].toSorted();
}

/** The type of node that runs a flow of its own for each item, held in its `config.flow`. */
export const MAP_TYPE = 'map';

/** The graph that a `map` node runs for each item; undefined for every other node and for a malformed one. */
export function nestedGraph(node: FlowNode): FlowGraph | undefined {
  if (node.type !== MAP_TYPE) return undefined;
  const flow = node.config?.['flow'];
  return validateGraph(flow) ? flow : undefined;
}

/** Keys of a node's config whose `$expr` belong to a nested run and not to the node itself. */
export function literalKeys(node: FlowNode): string[] {
  return node.type === MAP_TYPE ? ['flow'] : [];
}

/** Counting comes first, so that an oversized flow costs no more than its parsing did. */
function count(
  { graph, pointer, depth }: Level,
  counted: { nodes: number; connections: number },
  limits: FlowLimits,
) {
  const { nodes, connections } = (graph ?? {}) as Partial<Record<string, unknown>>;
  counted.nodes += Array.isArray(nodes) ? nodes.length : 0;
  counted.connections += Array.isArray(connections) ? connections.length : 0;
  return [
    exceeds('maxNodes', `${pointer}/nodes`, 'nodes', counted.nodes, limits),
    exceeds('maxConnections', `${pointer}/connections`, 'connections', counted.connections, limits),
    exceeds('maxDepth', pointer, 'levels of nested map nodes', depth, limits),
  ].flat();
}

function exceeds(
  limit: keyof FlowLimits,
  pointer: string,
  what: string,
  got: number,
  limits: FlowLimits,
): FlowProblem[] {
  if (got <= limits[limit]) return [];
  return [{ pointer, message: `expected at most ${limits[limit]} ${what}, got ${got}`, limit }];
}

function asGraph({ graph, pointer, depth }: Level, problems: FlowProblem[]): FlowGraph | undefined {
  const validate: ValidateFunction<FlowGraph> = depth === 0 ? validateFlow : validateGraph;
  if (validate(graph)) return graph;
  const found = schemaProblems((validate.errors ?? []).slice(0, MAX_PROBLEMS));
  problems.push(...found.map((problem) => ({ ...problem, pointer: pointer + problem.pointer })));
  return undefined;
}

function nestedLevels(graph: FlowGraph, { pointer, depth }: Level): Level[] {
  return graph.nodes.flatMap((node, index) =>
    node.type === MAP_TYPE
      ? [{ graph: node.config?.['flow'], pointer: `${pointer}/nodes/${index}/config/flow`, depth: depth + 1 }]
      : [],
  );
}

function graphProblems(graph: FlowGraph, pointer: string, parsing: { budget: number }): FlowProblem[] {
  const problems = [
    ...idProblems(graph.nodes),
    ...connectionProblems(graph),
    ...cycleProblems(graph),
    ...expressionProblems(graph, parsing),
  ];
  return problems.map((problem) => ({ ...problem, pointer: pointer + problem.pointer }));
}

function idProblems(nodes: readonly FlowNode[]): FlowProblem[] {
  const firstWith = new Map<string, number>();
  const problems: FlowProblem[] = [];
  nodes.forEach(({ id }, index) => {
    const first = firstWith.get(id);
    if (first === undefined) firstWith.set(id, index);
    else
      problems.push({
        pointer: `/nodes/${index}/id`,
        message: `expected a unique id, got "${id}" again (as /nodes/${first})`,
      });
  });
  return problems;
}

function connectionProblems({ nodes, connections }: FlowGraph): FlowProblem[] {
  const ids = new Set(nodes.map(({ id }) => id));
  const seen = new Set<string>();
  return connections.flatMap((connection, index) => {
    const pointer = `/connections/${index}`;
    const problems = (['from', 'to'] as const)
      .filter((end) => !ids.has(connection[end]))
      .map((end) => ({
        pointer: `${pointer}/${end}`,
        message: `expected the id of a node, got ${preview(connection[end])}`,
      }));
    if (connection.from === connection.to) {
      problems.push({
        pointer,
        message: `expected two different nodes, got "${connection.from}" connected to itself`,
      });
    }
    const key = JSON.stringify([
      connection.from,
      connection.to,
      connection.output ?? null,
      connection.when ?? null,
    ]);
    if (seen.has(key)) {
      problems.push({
        pointer,
        message: `expected each connection once, got "${connection.from}" → "${connection.to}" again`,
      });
    }
    seen.add(key);
    return problems;
  });
}

function cycleProblems(graph: FlowGraph): FlowProblem[] {
  const cycle = findCycle(graph);
  if (cycle === undefined) return [];
  const names =
    cycle.length > MAX_CYCLE_NAMES
      ? [...cycle.slice(0, MAX_CYCLE_NAMES), `… (${cycle.length} nodes)`]
      : cycle;
  return [{ pointer: '/connections', message: `expected no cycle, got ${[...names, cycle[0]].join(' → ')}` }];
}

/** The nodes of one cycle in order, self-loops aside. Kahn's algorithm: what it cannot remove holds a cycle. */
function findCycle({ nodes, connections }: FlowGraph): string[] | undefined {
  const waiting = new Map(nodes.map(({ id }) => [id, 0]));
  const edges = connections.filter(({ from, to }) => from !== to && waiting.has(from) && waiting.has(to));
  const following = groupByFrom(edges);
  for (const { to } of edges) waiting.set(to, waiting.get(to)! + 1);
  const free = [...waiting.keys()].filter((id) => waiting.get(id) === 0);
  for (let id = free.pop(); id !== undefined; id = free.pop()) {
    waiting.delete(id);
    for (const { to } of following.get(id) ?? []) {
      const left = waiting.get(to)! - 1;
      waiting.set(to, left);
      if (left === 0) free.push(to);
    }
  }
  if (waiting.size === 0) return undefined;
  return walkBack(waiting, edges);
}

function groupByFrom(edges: readonly FlowConnection[]): Map<string, FlowConnection[]> {
  const groups = new Map<string, FlowConnection[]>();
  for (const edge of edges) {
    const group = groups.get(edge.from);
    if (group === undefined) groups.set(edge.from, [edge]);
    else group.push(edge);
  }
  return groups;
}

/** Every node left has a predecessor that is left too: following those must come round. */
function walkBack(left: ReadonlyMap<string, number>, edges: readonly FlowConnection[]): string[] {
  const before = new Map<string, string>();
  for (const { from, to } of edges) if (left.has(from) && left.has(to)) before.set(to, from);
  const order: string[] = [];
  const positions = new Map<string, number>();
  let id = left.keys().next().value!;
  for (; !positions.has(id); id = before.get(id)!) {
    positions.set(id, order.length);
    order.push(id);
  }
  return order.slice(positions.get(id)).toReversed();
}

function expressionProblems({ nodes, connections }: FlowGraph, parsing: { budget: number }): FlowProblem[] {
  const conditions = connections.flatMap(({ when }, index) =>
    when === undefined ? [] : [{ pointer: `/connections/${index}/when`, text: when }],
  );
  const marked = nodes.flatMap((node, index) =>
    findExpressions(node.config, literalKeys(node)).map(({ path, text }) => ({
      pointer: ['', 'nodes', String(index), 'config', ...path, '$expr'].map(escapePointer).join('/'),
      text,
    })),
  );
  return [...conditions, ...marked].flatMap(({ pointer, text }) => {
    // What is too long is refused without parsing.
    parsing.budget -= text.length > MAX_EXPRESSION_LENGTH ? 0 : text.length ** 2;
    const message = parsing.budget < 0 ? undefined : expressions.problem(text);
    return message === undefined ? [] : [{ pointer, message }];
  });
}
