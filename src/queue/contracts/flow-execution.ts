import type { Priority } from '../priority.js';
import type { FlowData, RetryPolicy } from './flow.js';

/** What a client asks for: the body of `POST /orchestrator/execute`. */
export interface FlowExecutionMessage {
  flowId: string;
  /** The client's own identity for this request; the same id with the same body is the same execution. */
  executionId?: string;
  priority?: Priority;
  flowData: FlowData;
  inputs?: Record<string, unknown>;
  /** Longest run of one attempt, ms. */
  timeoutMs?: number;
  /** Attempts of the whole execution (a node's own retries are in the flow). */
  retry?: RetryPolicy;
  labels?: Record<string, string>;
  /** Not before this many ms from acceptance. */
  delayMs?: number;
  /** ISO 8601; still waiting by then = cancelled with the code `expired`. */
  expiresAt?: string;
}
