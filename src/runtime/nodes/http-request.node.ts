import { Agent, type Dispatcher, request } from 'undici';
import { BlockedAddressError, guardedConnector, type Lookup } from './address-guard.js';
import {
  completed,
  defineNode,
  failed,
  messageOf,
  type NodeContext,
  type NodeHandler,
  type NodeOutcome,
} from './node-handler.js';

export interface HttpOptions {
  /** Hosts that may be reached though their address is private: `name`, `name:port`, `*.domain`. Default none. */
  allowHosts?: readonly string[];
  /** Longest response body, in bytes. Default 10 MiB. */
  maxResponseBytes?: number;
  /** Name resolution, for tests. */
  lookup?: Lookup;
}

interface HttpRequestConfig {
  url: string;
  method?: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'OPTIONS';
  headers?: Record<string, string>;
  query?: Record<string, string | number | boolean>;
  body?: unknown;
  timeoutMs?: number;
  responseType?: 'auto' | 'json' | 'text';
  expectedStatus?: number | number[];
}

interface Call {
  url: URL;
  method: NonNullable<HttpRequestConfig['method']>;
  headers: Record<string, string>;
  body?: string;
}

const DEFAULT_MAX_RESPONSE_BYTES = 10 * 1024 * 1024;
const DEFAULT_TIMEOUT_MS = 30_000;
const MAX_REDIRECTS = 5;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** Set by the connection itself: a flow that could set them could smuggle a second request or address another host. */
const FORBIDDEN_HEADERS = new Set([
  'host', 'connection', 'content-length', 'transfer-encoding', 'upgrade', 'expect', 'keep-alive', 'te', 'trailer',
]); // prettier-ignore
/** Meant for one origin; not sent on when a redirect leads to another. */
const CREDENTIALS = new Set(['authorization', 'cookie', 'proxy-authorization']);

const configSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['url'],
  properties: {
    url: { type: 'string', minLength: 1, maxLength: 8192 },
    method: { enum: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] },
    headers: { type: 'object', additionalProperties: { type: 'string' } },
    query: { type: 'object', additionalProperties: { type: ['string', 'number', 'boolean'] } },
    body: {},
    timeoutMs: { type: 'integer', minimum: 1, maximum: 3_600_000 },
    responseType: { enum: ['auto', 'json', 'text'] },
    expectedStatus: {
      type: ['integer', 'array'],
      minimum: 100,
      maximum: 599,
      minItems: 1,
      items: { type: 'integer', minimum: 100, maximum: 599 },
    },
  },
} as const;

/** A fault that is the request's own, found before or while it is sent. */
class RequestError extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** Sends one HTTP request. Output: `{status, headers, body}`. `close` ends its connections. */
export function httpRequestNode(options: HttpOptions = {}): {
  handler: NodeHandler;
  close: () => Promise<void>;
} {
  const agent = new Agent({ connect: guardedConnector(options.allowHosts ?? [], options.lookup) });
  const maxBytes = options.maxResponseBytes ?? DEFAULT_MAX_RESPONSE_BYTES;
  const handler = defineNode<HttpRequestConfig>({
    type: 'http-request',
    description: 'Sends an HTTP request to a public address',
    configSchema,
    run: (context) => sendRequest(context, agent, maxBytes),
  });
  return { handler, close: () => agent.destroy() };
}

async function sendRequest(
  context: NodeContext<HttpRequestConfig>,
  agent: Agent,
  maxBytes: number,
): Promise<NodeOutcome> {
  const { config, signal } = context;
  const timeoutMs = config.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const deadline = AbortSignal.timeout(timeoutMs);
  try {
    const call = toCall(config, context.idempotencyKey);
    const response = await follow(call, agent, AbortSignal.any([signal, deadline]));
    const { statusCode: status } = response;
    if (!isExpected(status, config.expectedStatus)) {
      discard(response);
      return unexpectedStatus(status, call, config.expectedStatus);
    }
    const text = await readText(response, maxBytes);
    return completed({
      status,
      headers: plainHeaders(response),
      body: parseBody(text, response, config.responseType),
    });
  } catch (error) {
    if (signal.aborted) return { kind: 'cancelled' };
    if (deadline.aborted) {
      return failed('http_timeout', `expected a response within ${timeoutMs} ms, got none`, {
        retryable: true,
      });
    }
    return failureOf(error);
  }
}

function toCall(
  { url, method = 'GET', headers = {}, query = {}, body }: HttpRequestConfig,
  idempotencyKey: string,
): Call {
  const target = httpUrl(url);
  for (const [name, value] of Object.entries(query)) target.searchParams.append(name, String(value));
  const call: Call = { url: target, method, headers: { 'accept-encoding': 'identity' } };
  if (body !== undefined && body !== null) {
    call.body = typeof body === 'string' ? body : JSON.stringify(body);
    call.headers['content-type'] =
      typeof body === 'string' ? 'text/plain; charset=utf-8' : 'application/json';
  }
  if (method !== 'GET' && method !== 'HEAD') call.headers['idempotency-key'] = idempotencyKey;
  for (const [name, value] of Object.entries(headers)) {
    const key = name.toLowerCase();
    if (FORBIDDEN_HEADERS.has(key))
      throw new RequestError('bad_config', `expected no header "${name}": the worker sets it`);
    call.headers[key] = value;
  }
  return call;
}

function httpUrl(text: string, base?: URL): URL {
  const url = URL.canParse(text, base?.href) ? new URL(text, base) : undefined;
  if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new RequestError(
      'http_blocked',
      `expected an http or https URL, got ${url?.protocol ?? JSON.stringify(text.slice(0, 100))}`,
    );
  }
  return url;
}

/** Follows redirects one by one: each target goes through the guarded connector like the first. */
async function follow(first: Call, dispatcher: Agent, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
  let call = first;
  for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
    const { url, method, headers, body } = call;
    const response = await request(url, { method, headers, body, dispatcher, signal });
    const { location } = response.headers;
    if (!REDIRECTS.has(response.statusCode) || typeof location !== 'string') return response;
    discard(response);
    call = redirected(call, response.statusCode, httpUrl(location, url));
  }
  throw new RequestError('http_redirects', `expected at most ${MAX_REDIRECTS} redirects, got more`);
}

/** What browsers do (fetch standard, "HTTP-redirect fetch"). */
function redirected(call: Call, status: number, url: URL): Call {
  const sameOrigin = url.origin === call.url.origin;
  const becomesGet = status === 303 ? call.method !== 'HEAD' : status < 303 && call.method === 'POST';
  const headers = Object.entries(call.headers).filter(
    ([name]) =>
      (sameOrigin || !CREDENTIALS.has(name)) &&
      !(becomesGet && (name === 'content-type' || name === 'idempotency-key')),
  );
  return {
    url,
    method: becomesGet ? 'GET' : call.method,
    headers: Object.fromEntries(headers),
    ...(becomesGet ? {} : { body: call.body }),
  };
}

function isExpected(status: number, expected: HttpRequestConfig['expectedStatus']): boolean {
  return expected === undefined ? status >= 200 && status < 300 : [expected].flat().includes(status);
}

function unexpectedStatus(
  status: number,
  { method, url }: Call,
  expected: HttpRequestConfig['expectedStatus'],
): NodeOutcome {
  const wanted = expected === undefined ? '2xx' : [expected].flat().join(' or ');
  const message = `${method} ${url.origin}${url.pathname}: expected status ${wanted}, got ${status}`;
  return failed('http_status', message, { retryable: status >= 500 || status === 429, details: { status } });
}

async function readText({ body, headers }: Dispatcher.ResponseData, maxBytes: number): Promise<string> {
  const tooLarge = (got: string) =>
    new RequestError('http_too_large', `expected a response of at most ${maxBytes} bytes, got ${got}`);
  const announced = Number(headers['content-length'] ?? 0);
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    if (announced > maxBytes) throw tooLarge(String(announced));
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      size += chunk.byteLength;
      if (size > maxBytes) throw tooLarge('more');
      chunks.push(chunk);
    }
  } finally {
    discard({ body });
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Ends a body nobody reads on; its connection ends with it. */
function discard({ body }: Pick<Dispatcher.ResponseData, 'body'>): void {
  body.on('error', () => {}).destroy();
}

function plainHeaders({ headers }: Dispatcher.ResponseData): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, [value ?? ''].flat().join(', ')]),
  );
}

function parseBody(
  text: string,
  { headers }: Dispatcher.ResponseData,
  type: HttpRequestConfig['responseType'] = 'auto',
): unknown {
  const isJson = /^[^;]*[/+]json\b/i.test(String(headers['content-type'] ?? ''));
  if (type === 'text' || (type === 'auto' && !isJson)) return text;
  if (text === '') return null;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new RequestError(
      'http_bad_body',
      `expected a body of JSON, got ${JSON.stringify(text.slice(0, 60))}`,
    );
  }
}

function failureOf(error: unknown): NodeOutcome {
  if (error instanceof RequestError) return failed(error.code, error.message, { retryable: false });
  const blocked = [error, (error as { cause?: unknown } | undefined)?.cause].find(
    (one) => one instanceof BlockedAddressError,
  );
  if (blocked !== undefined) return failed('http_blocked', blocked.message, { retryable: false });
  const { code } = error as { code?: unknown };
  const reason = typeof code === 'string' ? `${messageOf(error)} (${code})` : messageOf(error);
  return failed('http_network', `the request failed: ${reason}`, { retryable: true });
}
