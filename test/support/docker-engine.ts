import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * A Docker Engine small enough to read: a real HTTP server on a unix socket that keeps containers the way the Engine
 * API (1.41 to 1.57) documents it, without any process behind them. Tests show what a driver sends and how it takes
 * the answers: the shape of the wire. They do not show a live engine: no image is unpacked, no network joined, and a
 * container ends when the test says so.
 */
export interface EngineDouble {
  /** `unix:///…`. */
  host: string;
  containers: Map<string, EngineContainer>;
  /** Every request, `POST /v1.44/containers/create?name=…`. */
  requests: string[];
  /** Called first; a status that it returns is answered instead. */
  before?: (request: string) => { status: number; message: string } | undefined;
  byWorker(workerId: string): EngineContainer;
  /** The process in it ends. */
  exit(container: EngineContainer, code: number): void;
  close(): Promise<void>;
}

export interface EngineContainer {
  id: string;
  name: string;
  status: 'created' | 'running' | 'exited';
  spec: CreateBody;
  createdAtMs: number;
  startedAt: string;
  finishedAt: string;
  exitCode: number;
  /** Signals that it got. */
  signals: string[];
}

export interface CreateBody {
  Image: string;
  Cmd?: string[];
  Env?: string[];
  Labels?: Record<string, string>;
  StopSignal?: string;
  StopTimeout?: number;
  Healthcheck?: { Test: string[] };
  HostConfig?: { NetworkMode?: string; RestartPolicy?: { Name: string }; SecurityOpt?: string[] };
}

export interface EngineOptions {
  apiVersion?: string;
  minApiVersion?: string;
  images?: readonly string[];
  networks?: readonly string[];
}

interface Answer {
  status: number;
  body?: unknown;
}

interface Call {
  method: string;
  path: string;
  query: URLSearchParams;
  body: unknown;
}

const NEVER = '0001-01-01T00:00:00Z';
const NAME = /^\/?[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

const failure = (status: number, message: string): Answer => ({ status, body: { message } });
const noSuch = (id: string): Answer => failure(404, `No such container: ${id}`);

export async function startDockerEngine({
  apiVersion = '1.51',
  minApiVersion = '1.24',
  images = ['flow-orchestrator:latest'],
  networks = ['bridge', 'host', 'none'],
}: EngineOptions = {}): Promise<EngineDouble> {
  const folder = mkdtempSync(join(tmpdir(), 'docker-engine-'));
  const socketPath = join(folder, 'docker.sock');
  const containers = new Map<string, EngineContainer>();

  const exit = (container: EngineContainer, code: number): void => {
    container.status = 'exited';
    container.exitCode = code;
    container.finishedAt = new Date().toISOString();
  };

  const find = (idOrName: string): EngineContainer | undefined =>
    containers.get(idOrName) ?? [...containers.values()].find(({ name }) => name === idOrName);

  const isTaken = (name: string): boolean => [...containers.values()].some((one) => one.name === name);

  function list({ query }: Call): Answer {
    const filters = JSON.parse(query.get('filters') ?? '{}') as Record<string, string[]>;
    const unknown = Object.keys(filters).filter((name) => name !== 'label');
    if (unknown.length > 0) return failure(400, `invalid filter '${unknown[0]}'`);
    const all = ['1', 'true', 'True'].includes(query.get('all') ?? '');
    const found = [...containers.values()].filter(
      (one) =>
        (all || one.status === 'running') && (filters.label ?? []).every((label) => hasLabel(one, label)),
    );
    return { status: 200, body: found.map(summaryOf) };
  }

  function create({ query, body }: Call): Answer {
    const spec = body as CreateBody;
    const name = query.get('name') ?? `random_${randomBytes(4).toString('hex')}`;
    if (!NAME.test(name)) return failure(400, `Invalid container name (${name})`);
    if (!images.includes(spec.Image)) return failure(404, `No such image: ${spec.Image}`);
    if (isTaken(name)) return failure(409, `Conflict. The container name "/${name}" is already in use`);
    const id = randomBytes(32).toString('hex');
    const unstarted = { startedAt: NEVER, finishedAt: NEVER, exitCode: 0, signals: [] };
    containers.set(id, { id, name, status: 'created', spec, createdAtMs: Date.now(), ...unstarted });
    return { status: 201, body: { Id: id, Warnings: [] } };
  }

  function start(container: EngineContainer): Answer {
    if (container.status === 'running') return { status: 304 };
    const network = container.spec.HostConfig?.NetworkMode ?? 'bridge';
    if (!networks.includes(network)) return failure(404, `network ${network} not found`);
    container.status = 'running';
    container.startedAt = new Date().toISOString();
    return { status: 204 };
  }

  function kill(container: EngineContainer, { query }: Call): Answer {
    if (container.status !== 'running') return failure(409, `Container ${container.id} is not running`);
    const signal = query.get('signal') ?? 'SIGKILL';
    container.signals.push(signal);
    if (signal === 'SIGKILL') exit(container, 137);
    return { status: 204 };
  }

  function rename(container: EngineContainer, { query }: Call): Answer {
    const name = query.get('name') ?? '';
    if (!NAME.test(name)) return failure(400, `Invalid container name (${name})`);
    if (isTaken(name)) return failure(409, `Conflict. The container name "/${name}" is already in use`);
    container.name = name;
    return { status: 204 };
  }

  function remove(container: EngineContainer, { query }: Call): Answer {
    if (container.status === 'running' && query.get('force') !== 'true') {
      return failure(409, `You cannot remove a running container ${container.id}. Stop the container first`);
    }
    containers.delete(container.id);
    return { status: 204 };
  }

  function route(call: Call): Answer {
    const { method, path } = call;
    if (method === 'GET' && path === '/containers/json') return list(call);
    if (method === 'POST' && path === '/containers/create') return create(call);
    const [, id, action = ''] = /^\/containers\/([^/]+)(?:\/(\w+))?$/.exec(path) ?? [];
    if (id === undefined) return failure(404, 'page not found');
    const container = find(decodeURIComponent(id));
    if (!container) return noSuch(id);
    const actions: Record<string, (container: EngineContainer, call: Call) => Answer> = {
      'GET json': (one) => ({ status: 200, body: inspectionOf(one) }),
      'POST start': start,
      'POST kill': kill,
      'POST rename': rename,
      'DELETE ': remove,
    };
    return actions[`${method} ${action}`]?.(container, call) ?? failure(404, 'page not found');
  }

  /** `/v1.44/containers/json`; a path without a version is the newest one. */
  function versioned(call: Call): Answer {
    const version = { Version: '28.0.0', ApiVersion: apiVersion, MinAPIVersion: minApiVersion };
    const [, asked, rest] = /^\/v(1\.\d+)(\/.*)$/.exec(call.path) ?? [null, apiVersion, call.path];
    if (minor(asked!) < minor(minApiVersion)) {
      return failure(
        400,
        `client version ${asked} is too old. Minimum supported API version is ${minApiVersion}`,
      );
    }
    if (minor(asked!) > minor(apiVersion)) {
      return failure(
        400,
        `client version ${asked} is too new. Maximum supported API version is ${apiVersion}`,
      );
    }
    if (rest === '/_ping') return { status: 200, body: 'OK' };
    return rest === '/version' ? { status: 200, body: version } : route({ ...call, path: rest! });
  }

  const double: EngineDouble = {
    host: `unix://${socketPath}`,
    containers,
    requests: [],
    exit,
    byWorker: (workerId) =>
      [...containers.values()].find((one) => one.spec.Labels?.['flow-orchestrator.worker-id'] === workerId)!,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          rmSync(folder, { recursive: true, force: true });
          resolve();
        });
        server.closeAllConnections();
      }),
  };

  const server = createServer(async (request, response) => {
    const line = `${request.method} ${request.url}`;
    double.requests.push(line);
    const url = new URL(request.url ?? '/', 'http://localhost');
    const call = {
      method: request.method ?? 'GET',
      path: url.pathname,
      query: url.searchParams,
      body: await bodyOf(request),
    };
    const refused = double.before?.(line);
    const { status, body } = refused ? failure(refused.status, refused.message) : versioned(call);
    response.writeHead(status, { 'content-type': 'application/json', 'api-version': apiVersion });
    response.end(body === undefined ? '' : JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  return double;
}

const minor = (version: string): number => Number(version.split('.')[1]);

/** `name`, or `name=value`. */
function hasLabel({ spec }: EngineContainer, label: string): boolean {
  const at = label.indexOf('=');
  const labels = spec.Labels ?? {};
  return at < 0 ? label in labels : labels[label.slice(0, at)] === label.slice(at + 1);
}

function summaryOf({ id, name, status, spec, createdAtMs, exitCode }: EngineContainer): object {
  return {
    Id: id,
    Names: [`/${name}`],
    Image: spec.Image,
    ImageID: `sha256:${'0'.repeat(64)}`,
    Command: (spec.Cmd ?? []).join(' '),
    Created: Math.floor(createdAtMs / 1000),
    Ports: [],
    Labels: spec.Labels ?? {},
    State: status,
    Status: status === 'exited' ? `Exited (${exitCode}) 1 second ago` : 'Up 1 second',
    HostConfig: { NetworkMode: spec.HostConfig?.NetworkMode ?? 'default' },
    NetworkSettings: { Networks: {} },
    Mounts: [],
  };
}

function inspectionOf(container: EngineContainer): object {
  const { id, name, status, spec, createdAtMs, startedAt, finishedAt, exitCode } = container;
  return {
    Id: id,
    Name: `/${name}`,
    Created: new Date(createdAtMs).toISOString(),
    Config: spec,
    State: {
      Status: status,
      Running: status === 'running',
      ExitCode: exitCode,
      StartedAt: startedAt,
      FinishedAt: finishedAt,
    },
  };
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  return text === '' ? undefined : JSON.parse(text);
}
