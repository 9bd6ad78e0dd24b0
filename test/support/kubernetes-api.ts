import { randomBytes, randomUUID } from 'node:crypto';
import { createServer as createHttpServer, type IncomingMessage, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';

/**
 * The part of a Kubernetes API server that scaling a Deployment touches, and of the controllers behind it: a real HTTP
 * server that checks token, rights, paths and content types as the API reference documents them, gives a Deployment as
 * many pods as it has replicas, and ends those first that a ReplicaSet would. Pods end when the test says so: no node,
 * no kubelet, no container. Tests show the shape of the wire and the order of things, not a live cluster.
 */
export interface ClusterDouble {
  url: string;
  deployments: Map<string, DeploymentDouble>;
  pods: Map<string, PodDouble>;
  /** `PATCH /apis/apps/v1/…` of every request. */
  requests: string[];
  /** Each `verb resource` that was asked for: `patch deployments/scale`. */
  used: Set<string>;
  /** Tokens that are taken. */
  tokens: Set<string>;
  /** `verb resource` that is allowed; null = everything. */
  rights: Set<string> | null;
  addDeployment(name: string, replicas: number): void;
  /** A container in the pod ends by itself, and the kubelet starts it again. */
  restart(pod: string, exitCode: number): void;
  /** The cluster gives the pod up; its controller starts another. */
  evict(pod: string): void;
  /** What was to be deleted is gone. */
  finish(pod: string): void;
  close(): Promise<void>;
}

export interface DeploymentDouble {
  name: string;
  replicas: number;
}

export interface PodDouble {
  name: string;
  uid: string;
  deployment: string;
  createdAt: string;
  deletedAt: string | null;
  deletions: number;
  annotations: Record<string, string>;
  phase: 'Running' | 'Failed';
  isReady: boolean;
  restarts: number;
  terminated: object | null;
}

export interface ClusterOptions {
  namespace?: string;
  token?: string;
  rights?: readonly string[];
  /** Serves https with these. */
  tls?: { cert: Buffer; key: Buffer };
}

interface Answer {
  status: number;
  body: unknown;
}

const MERGE_PATCH = 'application/merge-patch+json';
const DELETION_COST = 'controller.kubernetes.io/pod-deletion-cost';

export async function startKubernetesApi({
  namespace = 'default',
  token = 'token-1',
  rights,
  tls,
}: ClusterOptions = {}): Promise<ClusterDouble> {
  const deployments = new Map<string, DeploymentDouble>();
  const pods = new Map<string, PodDouble>();

  /** What the ReplicaSet controller does, at once. */
  function control({ name, replicas }: DeploymentDouble): void {
    const active = [...pods.values()].filter((pod) => pod.deployment === name && isActive(pod));
    for (let count = active.length; count < replicas; count++) addPod(name);
    const surplus = active.toSorted(goesFirst).slice(0, Math.max(0, active.length - replicas));
    for (const pod of surplus) remove(pod);
  }

  function addPod(deployment: string): void {
    const name = `${deployment}-7d4b9c6f5-${randomBytes(3).toString('hex').slice(0, 5)}`;
    pods.set(name, {
      name,
      uid: randomUUID(),
      deployment,
      createdAt: wholeSeconds(),
      deletedAt: null,
      deletions: 0,
      annotations: {},
      phase: 'Running',
      isReady: true,
      restarts: 0,
      terminated: null,
    });
  }

  function remove(pod: PodDouble): void {
    pod.deletions += 1;
    pod.deletedAt ??= wholeSeconds();
  }

  function scale({ method, name, body }: Call): Answer {
    const deployment = deployments.get(name);
    if (!deployment) return failure(404, 'NotFound', `deployments.apps "${name}" not found`);
    if (method === 'PATCH') {
      const { spec } = body as { spec?: { replicas?: unknown } };
      if (!Number.isInteger(spec?.replicas)) return failure(422, 'Invalid', 'spec.replicas: Invalid value');
      deployment.replicas = spec!.replicas as number;
      control(deployment);
    }
    return { status: 200, body: scaleOf(deployment, pods, namespace) };
  }

  function podList({ query }: Call): Answer {
    const [key, value] = (query.get('labelSelector') ?? '').split('=');
    if (key !== 'app') return failure(400, 'BadRequest', 'unable to parse requirement');
    const found = [...pods.values()].filter(({ deployment }) => deployment === value);
    return {
      status: 200,
      body: { kind: 'PodList', apiVersion: 'v1', items: found.map((one) => podOf(one, namespace)) },
    };
  }

  function onePod({ method, name, body }: Call): Answer {
    const pod = pods.get(name);
    if (!pod) return failure(404, 'NotFound', `pods "${name}" not found`);
    if (method === 'PATCH') {
      const { metadata } = body as { metadata?: { annotations?: Record<string, string> } };
      const values = Object.values(metadata?.annotations ?? {});
      if (values.some((value) => typeof value !== 'string')) {
        return failure(400, 'BadRequest', 'cannot unmarshal number into Go struct field of type string');
      }
      Object.assign(pod.annotations, metadata?.annotations);
    } else {
      remove(pod);
      control(deployments.get(pod.deployment)!);
    }
    return { status: 200, body: podOf(pod, namespace) };
  }

  function route(request: IncomingMessage, call: Call | null): Answer {
    const [, sent] = /^Bearer (.+)$/.exec(request.headers.authorization ?? '') ?? [];
    if (!sent || !double.tokens.has(sent)) return failure(401, 'Unauthorized', 'Unauthorized');
    if (!call || call.namespace !== namespace) {
      return call
        ? failure(403, 'Forbidden', `cannot ${call.right} in the namespace "${call.namespace}"`)
        : failure(404, 'NotFound', 'the server could not find the requested resource');
    }
    double.used.add(call.right);
    if (double.rights && !double.rights.has(call.right)) {
      const [verb, resource] = call.right.split(' ');
      return failure(
        403,
        'Forbidden',
        `${resource} "${call.name}" is forbidden: User "system:serviceaccount:${namespace}:orchestrator" cannot ${verb} resource "${resource}" in the namespace "${namespace}"`,
      );
    }
    if (call.method === 'PATCH' && request.headers['content-type'] !== MERGE_PATCH) {
      return failure(415, 'UnsupportedMediaType', `expected ${MERGE_PATCH}`);
    }
    if (call.resource === 'deployments/scale') return scale(call);
    return call.name === '' ? podList(call) : onePod(call);
  }

  const handle = async (request: IncomingMessage): Promise<Answer> => {
    double.requests.push(`${request.method} ${request.url}`);
    return route(request, callOf(request, await bodyOf(request)));
  };

  const listener: Parameters<typeof createHttpServer>[1] = async (request, response) => {
    const { status, body } = await handle(request);
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };
  const server: Server = tls ? createHttpsServer(tls, listener) : createHttpServer(listener);

  const double: ClusterDouble = {
    url: '',
    deployments,
    pods,
    requests: [],
    used: new Set(),
    tokens: new Set([token]),
    rights: rights ? new Set(rights) : null,
    addDeployment: (name, replicas) => {
      deployments.set(name, { name, replicas });
      control(deployments.get(name)!);
    },
    restart: (name, exitCode) => {
      const pod = pods.get(name)!;
      pod.restarts += 1;
      pod.terminated = { exitCode, reason: 'Error', startedAt: pod.createdAt, finishedAt: wholeSeconds() };
    },
    evict: (name) => {
      const pod = pods.get(name)!;
      pod.phase = 'Failed';
      control(deployments.get(pod.deployment)!);
    },
    finish: (name) => void pods.delete(name),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  double.url = `${tls ? 'https' : 'http'}://127.0.0.1:${port}`;
  return double;
}

/** The API has whole seconds. */
const wholeSeconds = (): string => new Date().toISOString().replace(/\.\d+Z$/, 'Z');

const isActive = ({ deletedAt, phase }: PodDouble): boolean => deletedAt === null && phase === 'Running';

/** Not ready before ready, then the lower cost, then the younger (ActivePodsWithRanks of the ReplicaSet controller). */
function goesFirst(one: PodDouble, other: PodDouble): number {
  const cost = ({ annotations }: PodDouble): number => Number(annotations[DELETION_COST] ?? 0);
  return (
    Number(one.isReady) - Number(other.isReady) ||
    cost(one) - cost(other) ||
    other.createdAt.localeCompare(one.createdAt)
  );
}

interface Call {
  method: string;
  namespace: string;
  resource: 'deployments/scale' | 'pods';
  name: string;
  /** `verb resource` */
  right: string;
  query: URLSearchParams;
  body: unknown;
}

const ROUTES = [
  {
    path: /^\/apis\/apps\/v1\/namespaces\/([^/]+)\/deployments\/([^/]+)\/scale$/,
    resource: 'deployments/scale',
  },
  { path: /^\/api\/v1\/namespaces\/([^/]+)\/pods(?:\/([^/]+))?$/, resource: 'pods' },
] as const;

function callOf(request: IncomingMessage, body: unknown): Call | null {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost');
  const method = request.method ?? 'GET';
  for (const { path, resource } of ROUTES) {
    const [, namespace, name = ''] = path.exec(pathname) ?? [];
    if (namespace === undefined) continue;
    const verb = method === 'GET' && name === '' ? 'list' : method.toLowerCase();
    return { method, namespace, resource, name, right: `${verb} ${resource}`, query: searchParams, body };
  }
  return null;
}

const failure = (code: number, reason: string, message: string): Answer => ({
  status: code,
  body: { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, code },
});

/** Numbers that are 0 are left out, as Go's `omitempty` does. */
function scaleOf(
  { name, replicas }: DeploymentDouble,
  pods: Map<string, PodDouble>,
  namespace: string,
): object {
  const running = [...pods.values()].filter((pod) => pod.deployment === name && isActive(pod)).length;
  return {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    metadata: { name, namespace, resourceVersion: '1' },
    spec: { ...(replicas > 0 && { replicas }) },
    status: { replicas: running, selector: `app=${name}` },
  };
}

function podOf(pod: PodDouble, namespace: string): object {
  const { name, uid, createdAt, deletedAt, annotations, deployment, phase, isReady, restarts, terminated } =
    pod;
  const container = { name: 'worker', ready: isReady, restartCount: restarts };
  return {
    metadata: {
      name,
      namespace,
      uid,
      creationTimestamp: createdAt,
      ...(deletedAt !== null && { deletionTimestamp: deletedAt, deletionGracePeriodSeconds: 60 }),
      labels: { app: deployment },
      annotations,
    },
    spec: { containers: [{ name: 'worker' }] },
    status: {
      phase,
      startTime: createdAt,
      containerStatuses: [{ ...container, lastState: terminated ? { terminated } : {} }],
    },
  };
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  return text === '' ? undefined : JSON.parse(text);
}
