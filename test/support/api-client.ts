import type { FlowExecutionMessage } from '../../src/queue/contracts/flow-execution.js';
import type { FlowConnection, FlowNode } from '../../src/queue/contracts/flow.js';
import { TERMINAL_STATES } from '../../src/store/transitions.js';

export interface Answer {
  status: number;
  headers: Headers;
  // The tests look at whatever the API answers, field by field.
  // eslint-disable-next-line typescript/no-explicit-any
  body: any;
}

const END_TIMEOUT_MS = 60_000;

/** The HTTP API as a client uses it. */
export class ApiClient {
  constructor(readonly baseUrl: string) {}

  get(path: string, headers: Record<string, string> = {}): Promise<Answer> {
    return this.request('GET', path, undefined, headers);
  }

  post(path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    return this.request('POST', path, body, headers);
  }

  put(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    return this.request('PUT', path, body, headers);
  }

  execute(message: FlowExecutionMessage, query = ''): Promise<Answer> {
    return this.post(`/orchestrator/execute${query}`, message);
  }

  /** Submits, expects 202, and answers the id. */
  async submit(message: FlowExecutionMessage): Promise<string> {
    const { status, body } = await this.execute(message);
    if (status !== 202) {
      throw new Error(`expected 202, got ${status}: ${JSON.stringify(body)}`);
    }
    return body.executionId;
  }

  execution(executionId: string): Promise<Answer> {
    return this.get(`/orchestrator/executions/${executionId}`);
  }

  /** The execution once `isSo` holds of it. */
  async until(
    executionId: string,
    isSo: (execution: Answer['body']) => boolean,
    timeoutMs = END_TIMEOUT_MS,
  ): Promise<Answer['body']> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const { body } = await this.execution(executionId);
      if (isSo(body)) {
        return body;
      }
      if (Date.now() > deadline) {
        throw new Error(`not within ${timeoutMs} ms; the execution is ${JSON.stringify(body)}`);
      }
      await new Promise((next) => setTimeout(next, 20));
    }
  }

  untilState(executionId: string, state: string): Promise<Answer['body']> {
    return this.until(executionId, (execution) => execution.state === state);
  }

  untilEnded(executionId: string): Promise<Answer['body']> {
    return this.until(executionId, ({ state }) => TERMINAL_STATES.includes(state));
  }

  private async request(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const response = await fetch(`${this.baseUrl}${path}`, {
      method,
      headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json');
    return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
  }
}

/** A flow of these nodes, one after the other unless `connections` says otherwise. */
export function flow(
  nodes: FlowNode[],
  rest: Partial<FlowExecutionMessage> & { connections?: FlowConnection[] } = {},
): FlowExecutionMessage {
  const { connections, ...message } = rest;
  const chain = nodes.slice(1).map((node, index) => ({ from: nodes[index]!.id, to: node.id }));
  return {
    flowId: 'test-flow',
    flowData: { name: 'Test flow', version: 1, nodes, connections: connections ?? chain },
    ...message,
  };
}

/** A flow that just takes this long. */
export function delayFlow(ms: number, rest: Partial<FlowExecutionMessage> = {}): FlowExecutionMessage {
  return flow([{ id: 'wait', type: 'delay', config: { ms } }], rest);
}
