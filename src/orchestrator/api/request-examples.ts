import type { BulkReplayRequest } from './list-query.dto.js';
import type { FlowExecutionMessage } from '../../queue/contracts/flow-execution.js';

/** Shown in /docs; a test sends them. */
export const EXECUTE_EXAMPLE: FlowExecutionMessage = {
  flowId: 'flow-123',
  executionId: 'exec-456',
  priority: 'high',
  flowData: {
    name: 'Data Processing Flow',
    version: 1,
    nodes: [
      { id: 'first', type: 'delay', config: { ms: 100 } },
      { id: 'second', type: 'delay', config: { ms: 50 } },
    ],
    connections: [{ from: 'first', to: 'second' }],
  },
  inputs: { data: 'input data' },
};

const { executionId: _, ...WITHOUT_ID } = EXECUTE_EXAMPLE;

export const BATCH_EXAMPLE: { items: FlowExecutionMessage[] } = {
  items: [
    { ...WITHOUT_ID, labels: { team: 'billing' } },
    { ...WITHOUT_ID, priority: 'low', delayMs: 1_000, retry: { maxAttempts: 2, backoff: { baseMs: 500 } } },
  ],
};

export const REPLAY_EXAMPLES: Record<string, Partial<BulkReplayRequest>> = {
  'of one error': { errorCode: 'worker_lost', limit: 100 },
  'every dead execution': { all: true },
};
