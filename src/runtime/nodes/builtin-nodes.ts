import { dataFilterNode } from './data-filter.node.js';
import { dataTransformNode } from './data-transform.node.js';
import { delayNode } from './delay.node.js';
import { type HttpOptions, httpRequestNode } from './http-request.node.js';
import { logNode } from './log.node.js';
import { mapNode } from './map.node.js';
import { mongodbOperationsNode } from './mongodb-operations.node.js';
import type { NamedConnections } from './named-connections.js';
import type { NodeHandler } from './node-handler.js';
import { postgresqlQueryNode } from './postgresql-query.node.js';

export interface BuiltinNodesOptions {
  /** URLs by name, `postgresql://…` or `mongodb://…`; from the worker's environment. */
  connections: NamedConnections;
  http?: HttpOptions;
}

export interface BuiltinNodes {
  handlers: NodeHandler[];
  /** Ends every connection the nodes have opened. */
  close(): Promise<void>;
}

/** The node types every worker knows. Opens nothing: connections are made on first use. */
export function builtinNodes({ connections, http }: BuiltinNodesOptions): BuiltinNodes {
  const connected = [
    httpRequestNode(http),
    postgresqlQueryNode(connections),
    mongodbOperationsNode(connections),
  ];
  const plain = [dataFilterNode, dataTransformNode, delayNode, logNode, mapNode];
  return {
    handlers: [...plain, ...connected.map(({ handler }) => handler)],
    close: async () => {
      await Promise.allSettled(connected.map(({ close }) => close()));
    },
  };
}
