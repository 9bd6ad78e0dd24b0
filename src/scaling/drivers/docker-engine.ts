import { type HttpAnswer, HttpApi, type HttpCall } from './http-api.js';

/** `GET /containers/json`, as far as it is used. */
export interface ContainerSummary {
  Id: string;
  /** With a slash before each. */
  Names: string[];
  /** created, running, paused, restarting, removing, exited or dead. */
  State: string;
  /** Seconds since the epoch. */
  Created: number;
  Labels: Record<string, string>;
}

/** `State` of `GET /containers/{id}/json`, as far as it is used. */
export interface ContainerEnd {
  ExitCode: number;
  /** RFC 3339. */
  StartedAt: string;
  FinishedAt: string;
}

/** Body of `POST /containers/create`, as far as it is used. */
export interface ContainerSpec {
  Image: string;
  Cmd: readonly string[];
  Env: readonly string[];
  Labels: Readonly<Record<string, string>>;
  StopSignal: string;
  /** Seconds. */
  StopTimeout: number;
  Healthcheck: { Test: readonly string[] };
  HostConfig: {
    NetworkMode?: string;
    RestartPolicy: { Name: string };
    SecurityOpt: readonly string[];
  };
}

/** 1.41 is Docker 20.10; 1.44 is Docker 25, below which Docker 29 takes nothing. What is used here is in all of them. */
const OLDEST_MINOR = 41;
const PREFERRED_MINOR = 44;

/**
 * The version to speak: the preferred one, or the nearest that the engine takes.
 * @throws Error when the engine is too old
 */
export function chooseVersion(engine: { ApiVersion: string; MinAPIVersion?: string }): string {
  const newest = minorOf(engine.ApiVersion);
  const oldest = minorOf(engine.MinAPIVersion ?? '1.0');
  if (!(newest >= OLDEST_MINOR)) {
    throw new Error(
      `expected a Docker Engine with API 1.${OLDEST_MINOR} or later (Docker 20.10), got one with API ${engine.ApiVersion}`,
    );
  }
  return `1.${Math.max(oldest, Math.min(newest, PREFERRED_MINOR))}`;
}

/** Number behind the point of `1.44`; NaN for what is not a version. */
const minorOf = (version: string): number => Number(/^1\.(\d+)$/.exec(version)?.[1]);

/** The calls of the Docker Engine API that a driver of workers needs. Opens nothing before the first of them. */
export class DockerEngine {
  private readonly api: HttpApi;
  private version: string | null = null;

  /** @param host `unix:///var/run/docker.sock`, `tcp://host:port` or `http://host:port` */
  constructor(host: string) {
    this.api = new HttpApi({ name: 'the Docker Engine', ...addressOf(host), timeoutMs: 30_000 });
  }

  /** Those with all the labels (`name=value`), whatever their state. */
  async list(labels: readonly string[]): Promise<ContainerSummary[]> {
    const filters = encodeURIComponent(JSON.stringify({ label: labels }));
    const answer = await this.send('GET', `/containers/json?all=true&filters=${filters}`, [200]);
    return JSON.parse(answer.text) as ContainerSummary[];
  }

  /** @returns its id */
  async create(name: string, spec: ContainerSpec): Promise<string> {
    const path = `/containers/create?name=${encodeURIComponent(name)}`;
    const answer = await this.send('POST', path, [201], spec);
    return (JSON.parse(answer.text) as { Id: string }).Id;
  }

  /** A container that runs already stays as it is. */
  async start(id: string): Promise<void> {
    await this.send('POST', `/containers/${encodeURIComponent(id)}/start`, [204, 304]);
  }

  /** Sends a signal; nothing happens to a container that does not run (409) or is gone (404). */
  async kill(id: string, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    await this.send('POST', `/containers/${encodeURIComponent(id)}/kill?signal=${signal}`, [204, 404, 409]);
  }

  /** Nothing happens when it is gone. */
  async rename(id: string, name: string): Promise<void> {
    const path = `/containers/${encodeURIComponent(id)}/rename?name=${encodeURIComponent(name)}`;
    await this.send('POST', path, [204, 404]);
  }

  /** How it ended; null when it is gone. */
  async endOf(id: string): Promise<ContainerEnd | null> {
    const answer = await this.send('GET', `/containers/${encodeURIComponent(id)}/json`, [200, 404]);
    return answer.status === 404 ? null : (JSON.parse(answer.text) as { State: ContainerEnd }).State;
  }

  /** With its anonymous volumes. Nothing happens when it is gone or somebody else is removing it. */
  async remove(id: string): Promise<void> {
    await this.send('DELETE', `/containers/${encodeURIComponent(id)}?v=true`, [204, 404, 409]);
  }

  close(): Promise<void> {
    return this.api.close();
  }

  private async send(
    method: HttpCall['method'],
    path: string,
    expected: readonly number[],
    body?: unknown,
  ): Promise<HttpAnswer> {
    this.version ??= chooseVersion(await this.askVersion());
    const call = { method, path: `/v${this.version}${path}`, body: body && JSON.stringify(body) } as HttpCall;
    return checked(call, await this.api.call(call), expected);
  }

  private async askVersion(): Promise<{ ApiVersion: string; MinAPIVersion?: string }> {
    const call = { method: 'GET', path: '/version' } as const;
    const { text } = checked(call, await this.api.call(call), [200]);
    return JSON.parse(text) as { ApiVersion: string; MinAPIVersion?: string };
  }
}

function addressOf(host: string): { origin: string; socketPath?: string } {
  const socketPath = /^unix:\/\/(\/.+)$/.exec(host)?.[1];
  if (socketPath !== undefined) return { origin: 'http://localhost', socketPath };
  const origin = host.replace(/^tcp:/, 'http:');
  if (!origin.startsWith('http://') || !URL.canParse(origin)) {
    throw new Error(
      `expected the Docker Engine at unix:///path, tcp://host:port or http://host:port, got ${JSON.stringify(host)}`,
    );
  }
  return { origin };
}

function checked({ method, path }: HttpCall, answer: HttpAnswer, expected: readonly number[]): HttpAnswer {
  if (expected.includes(answer.status)) return answer;
  const what = `${method} ${path.split('?', 1)[0]}`;
  throw new Error(
    `expected ${expected[0]} from the Docker Engine for ${what}, got ${answer.status}: ${messageOf(answer)}`,
  );
}

/** The engine says what is wrong in `{"message": …}`. */
function messageOf({ text }: HttpAnswer): string {
  try {
    return String((JSON.parse(text) as { message?: unknown }).message ?? text).slice(0, 500);
  } catch {
    return text.slice(0, 500);
  }
}
