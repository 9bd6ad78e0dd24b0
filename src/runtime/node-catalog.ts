import { Injectable } from '@nestjs/common';
import { WorkerConfigService } from '../config/worker-config.service.js';
import { type BuiltinNodes, builtinNodes } from './nodes/builtin-nodes.js';
import { NodeRegistry } from './nodes/node-registry.js';

/** The node types that this worker offers: all built-in ones, or those that `WORKER_NODE_TYPES` names. */
@Injectable()
export class NodeCatalog {
  readonly registry: NodeRegistry;
  private readonly nodes: BuiltinNodes;

  constructor(config: WorkerConfigService) {
    const { connections, httpAllowHosts, httpMaxResponseBytes, workerNodeTypes } = config;
    this.nodes = builtinNodes({
      connections,
      http: { allowHosts: httpAllowHosts, maxResponseBytes: httpMaxResponseBytes },
    });
    const all = new NodeRegistry(this.nodes.handlers, workerNodeTypes);
    this.registry =
      workerNodeTypes.length === 0
        ? all
        : new NodeRegistry(this.nodes.handlers.filter(({ type }) => workerNodeTypes.includes(type)));
  }

  get types(): string[] {
    return this.registry.types;
  }

  async close(): Promise<void> {
    await this.nodes.close();
  }
}
