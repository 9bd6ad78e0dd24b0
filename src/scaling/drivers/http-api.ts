import { Agent, type Dispatcher, request } from 'undici';

export interface HttpApiOptions {
  /** For errors: `the Docker Engine`. */
  name: string;
  /** `https://host:port`, without a slash at its end. */
  origin: string;
  /** Unix socket to connect to instead of the host and port of `origin`. */
  socketPath?: string;
  /** Authorities (PEM) that its certificate is checked against. Default Node's own list. */
  ca?: string;
  /** For a whole request, ms. Default 10,000. */
  timeoutMs?: number;
  /** What is longer is cut off. Default 64 MiB. */
  maxAnswerBytes?: number;
  /** Sent with each request; asked for each time, since tokens rotate. Default none. */
  headers?: () => Promise<Record<string, string>>;
}

export interface HttpCall {
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** With its query, from the first slash. */
  path: string;
  body?: string;
  /** Of the body. Default `application/json`. */
  contentType?: string;
  headers?: Record<string, string>;
}

export interface HttpAnswer {
  status: number;
  text: string;
}

const DEFAULT_TIMEOUT_MS = 10_000;
const DEFAULT_ANSWER_BYTES = 64 * 1024 * 1024;

/** One HTTP server that a driver talks to. Redirects are answers like any other: none is followed. */
export class HttpApi {
  private readonly agent: Agent;
  private readonly timeoutMs: number;

  constructor(private readonly options: HttpApiOptions) {
    const { ca, socketPath, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
    this.timeoutMs = timeoutMs;
    this.agent = new Agent({ connect: { ca, socketPath, timeout: timeoutMs } });
  }

  /** @throws Error when there is no whole answer in time; an answer with a bad status is none */
  async call({
    method,
    path,
    body,
    contentType = 'application/json',
    headers,
  }: HttpCall): Promise<HttpAnswer> {
    const own = (await this.options.headers?.()) ?? {};
    const content = body === undefined ? {} : { 'content-type': contentType };
    try {
      const response = await request(`${this.options.origin}${path}`, {
        method,
        body: body ?? null,
        headers: { ...own, ...content, ...headers },
        dispatcher: this.agent,
        signal: AbortSignal.timeout(this.timeoutMs),
      });
      const text = await readText(response, this.options.maxAnswerBytes ?? DEFAULT_ANSWER_BYTES);
      return { status: response.statusCode, text };
    } catch (error) {
      throw new Error(this.explain(error), { cause: error });
    }
  }

  /** Ends its connections; what is under way fails. */
  close(): Promise<void> {
    return this.agent.destroy();
  }

  private explain(error: unknown): string {
    const { name, origin, socketPath } = this.options;
    const got = isTimeout(error) ? 'none' : reasonOf(error);
    return `expected an answer of ${name} (${socketPath ?? origin}) within ${this.timeoutMs} ms, got ${got}`;
  }
}

async function readText({ body }: Dispatcher.ResponseData, limitBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    sizeBytes += chunk.length;
    if (sizeBytes >= limitBytes) break;
  }
  return Buffer.concat(chunks).toString('utf8', 0, Math.min(sizeBytes, limitBytes));
}

const isTimeout = (error: unknown): boolean => (error as Error).name === 'TimeoutError';

/** An error of several addresses has no message of its own, but a code. */
function reasonOf(error: unknown): string {
  const { message, code, name } = error as NodeJS.ErrnoException;
  return message || (code ?? name);
}
