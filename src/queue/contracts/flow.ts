/**
 * A flow is a directed acyclic graph of typed nodes. This file is its shape on the wire and over HTTP;
 * `flow-check.ts` holds the rules that a shape alone cannot express.
 */

/** Delays between tries: `baseMs · factor^(n−1)`, capped at `maxMs`, then spread by ±`jitter` (0..1). */
export interface Backoff {
  baseMs: number;
  factor?: number;
  maxMs?: number;
  jitter?: number;
}

/** How often something is tried in all, and how long to wait between tries. */
export interface RetryPolicy {
  maxAttempts: number;
  backoff?: Backoff;
}

export interface FlowNode {
  /** Unique within its flow; letters, digits, `_`, `-`, `.` and `:`. */
  id: string;
  /** Which handler runs it, for example `data-filter`. A worker must declare it to get the flow. */
  type: string;
  name?: string;
  /** The handler's settings. Any value of the form `{"$expr": "<JSONata>"}` is evaluated before the node runs. */
  config?: Record<string, unknown>;
  /** Longest run of one try, in ms; unset = bounded by the execution's own timeout alone. */
  timeoutMs?: number;
  /** Tries inside one attempt of the execution; unset = one try. */
  retry?: RetryPolicy;
  /** `fail` (default) ends the flow; `continue` lets the rest run, with the node's connections inactive. */
  onError?: 'fail' | 'continue';
}

export interface FlowConnection {
  from: string;
  to: string;
  /** JSONata condition on the source's output; the connection is active only if it is truthy. */
  when?: string;
  /** Output port of the source, for example `rejected` of `data-filter`; unset = the main output. */
  output?: string;
}

export interface FlowData {
  name: string;
  version: number;
  nodes: FlowNode[];
  connections: FlowConnection[];
}

/** A graph without a name: what `map` runs for each item. */
export type FlowGraph = Pick<FlowData, 'nodes' | 'connections'>;

export const ID_PATTERN = '^[A-Za-z0-9_.:-]{1,128}$';
/** What the record's column holds. */
export const HIGHEST_ATTEMPT = 2_147_483_647;
export const NODE_TYPE_PATTERN = '^[a-z0-9][a-z0-9_.-]{0,63}$';

const backoffSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['baseMs'],
  properties: {
    baseMs: { type: 'integer', minimum: 0, maximum: 86_400_000 },
    factor: { type: 'number', minimum: 1, maximum: 10 },
    maxMs: { type: 'integer', minimum: 0, maximum: 86_400_000 },
    jitter: { type: 'number', minimum: 0, maximum: 1 },
  },
} as const;

export const retryPolicySchema = {
  type: 'object',
  additionalProperties: false,
  required: ['maxAttempts'],
  properties: {
    maxAttempts: { type: 'integer', minimum: 1, maximum: 100 },
    backoff: backoffSchema,
  },
} as const;

const nodeSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['id', 'type'],
  properties: {
    id: { type: 'string', pattern: ID_PATTERN },
    type: { type: 'string', pattern: NODE_TYPE_PATTERN },
    name: { type: 'string', maxLength: 200 },
    config: { type: 'object' },
    timeoutMs: { type: 'integer', minimum: 1, maximum: 86_400_000 },
    retry: retryPolicySchema,
    onError: { enum: ['fail', 'continue'] },
  },
} as const;

const connectionSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['from', 'to'],
  properties: {
    from: { type: 'string' },
    to: { type: 'string' },
    when: { type: 'string', minLength: 1, maxLength: 4096 },
    output: { type: 'string', pattern: ID_PATTERN },
  },
} as const;

export const flowGraphSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['nodes', 'connections'],
  properties: {
    nodes: { type: 'array', minItems: 1, items: nodeSchema },
    connections: { type: 'array', items: connectionSchema },
  },
} as const;

export const flowDataSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['name', 'version', 'nodes', 'connections'],
  properties: {
    name: { type: 'string', minLength: 1, maxLength: 200 },
    version: { type: 'integer', minimum: 0 },
    ...flowGraphSchema.properties,
  },
} as const;
