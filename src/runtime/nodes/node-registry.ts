import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import { expressionText, ExpressionCache, findExpressions } from '../../queue/contracts/expression.js';
import { literalKeys, nestedGraph } from '../../queue/contracts/flow-check.js';
import type { FlowGraph, FlowNode } from '../../queue/contracts/flow.js';
import type { Failure } from '../../queue/contracts/reports.js';
import { escapePointer, schemaProblems } from '../../queue/contracts/schema-problems.js';
import type { NodeHandler, NodeHandlers } from './node-handler.js';

interface Registered {
  handler: NodeHandler;
  validate: ValidateFunction;
}

/** Every node type a worker runs, each with its config schema compiled once. */
export class NodeRegistry implements NodeHandlers {
  private readonly registered = new Map<string, Registered>();
  private readonly expressions = new ExpressionCache();

  /**
   * @param declaredTypes the types that the worker announces; default: those of the handlers.
   * @throws Error naming the fix when a handler is missing or doubled, or its schema is not a schema.
   */
  constructor(handlers: readonly NodeHandler[], declaredTypes?: readonly string[]) {
    const ajv = this.compiler();
    for (const handler of handlers) {
      if (this.registered.has(handler.type)) {
        throw new Error(
          `expected one handler for the node type "${handler.type}", got two: remove one or rename its type`,
        );
      }
      this.registered.set(handler.type, { handler, validate: compileSchema(ajv, handler) });
    }
    const missing = (declaredTypes ?? []).filter((type) => !this.registered.has(type));
    if (missing.length > 0) {
      const known = this.types.join(', ');
      throw new Error(
        `expected a handler for each declared node type, got none for ${missing.join(', ')}: ` +
          `add it to the handlers (known: ${known}) or declare the type no longer`,
      );
    }
  }

  /** The types, sorted: what a worker registers with. */
  get types(): string[] {
    return [...this.registered.keys()].toSorted();
  }

  get(type: string): NodeHandler | undefined {
    return this.registered.get(type)?.handler;
  }

  checkGraph(graph: FlowGraph): Failure | undefined {
    const graphs: FlowGraph[] = [graph];
    for (let current = graphs.pop(); current !== undefined; current = graphs.pop()) {
      for (const node of current.nodes) {
        const failure = this.checkNode(node);
        if (failure !== undefined) return failure;
        const nested = nestedGraph(node);
        if (nested !== undefined) graphs.push(nested);
      }
      const failure = this.checkPorts(current);
      if (failure !== undefined) return failure;
    }
    return undefined;
  }

  checkConfig(node: FlowNode, config: unknown): Failure | undefined {
    const { validate } = this.registered.get(node.type)!;
    return validate(config) ? undefined : badConfig(node, validate.errors ?? []);
  }

  /** What is still to be evaluated is checked when it has been; the rest of the config is checked now. */
  private checkNode(node: FlowNode): Failure | undefined {
    const registered = this.registered.get(node.type);
    if (registered === undefined) return this.unknownType(node);
    const config = node.config ?? {};
    if (expressionText(config) !== undefined || registered.validate(config)) return undefined;
    const open = findExpressions(config, literalKeys(node)).map(
      ({ path }) => `/${path.map(escapePointer).join('/')}`,
    );
    return badConfig(
      node,
      (registered.validate.errors ?? []).filter((error) => isCertain(error, open)),
    );
  }

  private checkPorts({ nodes, connections }: FlowGraph): Failure | undefined {
    if (connections.every(({ output }) => output === undefined)) return undefined;
    const types = new Map(nodes.map(({ id, type }) => [id, type]));
    for (const { from, to, output } of connections) {
      const type = types.get(from);
      if (output === undefined || type === undefined) continue;
      const ports = this.get(type)?.ports ?? [];
      if (ports.includes(output)) continue;
      const expected =
        ports.length === 0
          ? 'no output port (leave `output` out)'
          : `one of the output ports ${ports.join(', ')}`;
      const message = `node "${from}" (${type}): the connection to "${to}" expected ${expected}, got "${output}"`;
      return { code: 'bad_config', message, retryable: false, nodeId: from };
    }
    return undefined;
  }

  /** Retryable: another worker may know the type. */
  private unknownType({ id, type }: FlowNode): Failure {
    const message = `node "${id}": expected one of the node types ${this.types.join(', ')}, got "${type}"`;
    return { code: 'unknown_node_type', message, retryable: true, nodeId: id };
  }

  private compiler(): Ajv {
    const ajv = new Ajv({
      allErrors: true,
      verbose: true,
      strict: true,
      strictRequired: false,
      allowUnionTypes: true,
    });
    ajv.addFormat('jsonata', {
      type: 'string',
      validate: (text: string) => this.expressions.problem(text) === undefined,
    });
    return ajv;
  }
}

function compileSchema(ajv: Ajv, { type, configSchema }: NodeHandler): ValidateFunction {
  try {
    return ajv.compile(configSchema);
  } catch (error) {
    throw new Error(
      `expected configSchema of the node type "${type}" to be JSON Schema, got: ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  }
}

/** Errors at an expression say nothing yet, and those of a choice between schemas may hang on one. */
function isCertain({ instancePath, schemaPath }: ErrorObject, open: readonly string[]): boolean {
  if (open.length === 0) return true;
  if (/\/(anyOf|oneOf|not|if|then|else)(\/|$)/.test(schemaPath)) return false;
  return !open.some((pointer) => instancePath === pointer || instancePath.startsWith(`${pointer}/`));
}

function badConfig({ id, type }: FlowNode, errors: readonly ErrorObject[]): Failure | undefined {
  const problems = schemaProblems(errors);
  const [first] = problems;
  if (first === undefined) return undefined;
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : '';
  const message = `node "${id}" (${type}): config${first.pointer} ${first.message}${more}`;
  return {
    code: 'bad_config',
    message,
    retryable: false,
    nodeId: id,
    details: { problems: problems.slice(0, 20) },
  };
}
