import { randomBytes } from 'node:crypto';
import { availableParallelism, hostname } from 'node:os';
import {
  AtMost,
  Below,
  Choice,
  ConnectionStrings,
  Decimal,
  FilePath,
  Flag,
  Holds,
  Int,
  IntList,
  Text,
  TextList,
  Url,
  UrlList,
} from './variable.js';
import { parseWorkerClass, WORKER_CLASS_PATTERN } from './worker-class.js';

/**
 * Every variable there is: default, unit, meaning and rules. `process.env` is read nowhere else. A property
 * `queueHighWaterMark` is the variable `QUEUE_HIGH_WATER_MARK`; the README's table is made from this file
 * (`npm run docs:variables`).
 */

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export const LOG_FORMATS = ['auto', 'json', 'pretty'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

export const WORKER_DRIVERS = ['process', 'docker', 'kubernetes', 'webhook', 'none'] as const;
export type WorkerDriver = (typeof WORKER_DRIVERS)[number];

export const LOAD_BALANCING_STRATEGIES = ['least_busy', 'round_robin', 'weighted'] as const;
export type LoadBalancingStrategy = (typeof LOAD_BALANCING_STRATEGIES)[number];

export const UNKNOWN_NODE_TYPES = ['wait', 'reject'] as const;
export type UnknownNodeTypes = (typeof UNKNOWN_NODE_TYPES)[number];

/** What a client may do: look, submit, change what others submitted. */
export const ACCESS_SCOPES = ['read', 'execute', 'operate'] as const;
export type AccessScope = (typeof ACCESS_SCOPES)[number];

const LOOPBACK_HOSTS: readonly string[] = ['127.0.0.1', '::1', 'localhost'];
export const isLoopback = (host: string): boolean => LOOPBACK_HOSTS.includes(host.toLowerCase());

const ANY_SCOPE = `(?:${ACCESS_SCOPES.join('|')})`;
/** As long as the digest: a shorter secret can be guessed faster than the digest (RFC 7518, 3.2). */
const JWT_SECRET_LENGTH = 32;

const DAY_MS = 86_400_000;
const MEBIBYTE = 1_048_576;
/** The largest message RabbitMQ 4 takes by default. */
const MESSAGE_LIMIT_BYTES = 16 * MEBIBYTE;

const ID = {
  pattern: /^[A-Za-z0-9_.:-]{1,128}$/,
  expected: '1 to 128 letters, digits, _ . : or -',
};
const machineName = (): string =>
  hostname()
    .replaceAll(/[^A-Za-z0-9_.:-]/g, '-')
    .slice(0, 100) || 'localhost';

/** What an orchestrator and a worker have in common. */
export class SharedVariables {
  @UrlList({
    name: 'AMQP_URL',
    schemes: ['amqp', 'amqps'],
    default: ['amqp://guest:guest@127.0.0.1:5672'],
    secret: true,
    about:
      'The RabbitMQ broker; several URLs, separated by commas, are tried in turn (`%2C` is a comma in a password).',
  })
  readonly amqpUrls!: string[];

  @FilePath({
    about:
      "Certificates (PEM) of the authorities that the broker's is checked against; empty means Node's own list.",
  })
  @Holds<SharedVariables>(
    'AMQP_URL to be amqps://… when AMQP_CA_FILE or AMQP_CERT_FILE is set',
    ({ amqpCaFile, amqpCertFile, amqpUrls }) =>
      (amqpCaFile === '' && amqpCertFile === '') || amqpUrls.every((url) => url.startsWith('amqps:')),
  )
  readonly amqpCaFile!: string;

  @FilePath({ about: 'Certificate (PEM) that this process shows to the broker; empty means none.' })
  @Holds<SharedVariables>(
    'AMQP_CERT_FILE and AMQP_KEY_FILE to be set together',
    ({ amqpCertFile, amqpKeyFile }) => (amqpCertFile === '') === (amqpKeyFile === ''),
  )
  readonly amqpCertFile!: string;

  @FilePath({ about: 'Key (PEM) of `AMQP_CERT_FILE`.' })
  readonly amqpKeyFile!: string;

  @Text({
    default: '',
    pattern: /^[A-Za-z0-9_.-]{0,64}$/,
    expected: 'at most 64 letters, digits, _ . or -',
    about: 'Put before the name of every queue and exchange, so that several installations share one vhost.',
  })
  readonly amqpPrefix!: string;

  @Int({ default: 10, min: 1, max: 600, unit: 's', about: 'Heartbeat of the AMQP connection.' })
  readonly amqpHeartbeatS!: number;

  @Int({
    default: 200,
    min: 1,
    max: 65_535,
    unit: 'messages',
    about: 'Most published messages that await their confirm, a channel.',
  })
  readonly publishWindow!: number;

  @Int({ default: 10_000, min: 1, unit: 'ms', about: "Longest wait for the broker's confirm of a message." })
  readonly publishTimeoutMs!: number;

  @Int({
    default: 15_000,
    min: 100,
    unit: 'ms',
    about: 'How often a worker reports. The same value for orchestrators and workers.',
  })
  readonly heartbeatIntervalMs!: number;

  @Int({
    default: 30_000,
    unit: 'ms',
    about: 'Time a draining worker has to finish its flows; the rest it hands back.',
  })
  readonly workerDrainDeadlineMs!: number;

  @Int({
    default: MEBIBYTE,
    min: 1024,
    max: MESSAGE_LIMIT_BYTES,
    unit: 'bytes',
    about: 'Largest result of an execution; a larger one fails it.',
  })
  readonly resultLimitBytes!: number;

  @Choice({ of: LOG_LEVELS, default: 'info', about: 'Least severe log line that is written.' })
  readonly logLevel!: LogLevel;

  @Choice({
    of: LOG_FORMATS,
    default: 'auto',
    about: 'Form of the log; `auto` is pretty on a terminal, else JSON.',
  })
  readonly logFormat!: LogFormat;
}

export class OrchestratorVariables extends SharedVariables {
  // The process and its surroundings

  @Int({ default: 3000, max: 65_535, about: 'Port of the HTTP API; 0 takes a free one.' })
  readonly port!: number;

  @Text({
    default: '127.0.0.1',
    pattern: /^\S+$/,
    expected: 'a host name or an address',
    about:
      'Address the HTTP API listens on. Other than loopback needs `API_KEYS`, `JWT_SECRET` or `JWT_JWKS_URL`.',
  })
  @Holds<OrchestratorVariables>(
    'a loopback address (127.0.0.1, ::1, localhost), because whoever reaches the API may do everything: set API_KEYS, JWT_SECRET or JWT_JWKS_URL to listen elsewhere',
    (config) => isLoopback(config.host) || hasAuthentication(config),
  )
  readonly host!: string;

  @TextList({
    pattern: new RegExp(`^[A-Za-z0-9_.-]{1,64}:${ANY_SCOPE}(?:\\+${ANY_SCOPE})*:[\\x21-\\x7e]{16,}$`),
    expected:
      'name:scopes:key, scopes of read, execute and operate joined by +, key of at least 16 printable ASCII characters',
    secret: true,
    about:
      'Keys of the HTTP API, separated by commas: `name:scope+scope:key` with the scopes `read`, `execute`, `operate` and a key of at least 16 characters.',
  })
  @Holds<OrchestratorVariables>(
    'each name once',
    ({ apiKeys }) => new Set(apiKeys.map((entry) => entry.split(':', 1)[0])).size === apiKeys.length,
  )
  readonly apiKeys!: string[];

  @Text({
    default: '',
    pattern: new RegExp(`^(?:.{${JWT_SECRET_LENGTH},})?$`),
    expected: `at least ${JWT_SECRET_LENGTH} characters`,
    secret: true,
    about: `Secret that signs the JWTs (HS256) that the HTTP API takes, at least ${JWT_SECRET_LENGTH} characters.`,
  })
  readonly jwtSecret!: string;

  @Url({
    schemes: ['https', 'http'],
    default: '',
    about:
      'Public keys (JWKS) of the JWTs (RS256, ES256, EdDSA) that the HTTP API takes; needs `JWT_AUDIENCE`. Instead of `JWT_SECRET`.',
  })
  @Holds<OrchestratorVariables>(
    'JWT_SECRET or JWT_JWKS_URL, not both',
    ({ jwtSecret, jwtJwksUrl }) => jwtSecret === '' || jwtJwksUrl === '',
  )
  @Holds<OrchestratorVariables>(
    'https://… (http:// is for loopback addresses only: who answers in its place signs what he likes)',
    ({ jwtJwksUrl }) => !/^http:/i.test(jwtJwksUrl) || isLoopback(hostOf(jwtJwksUrl)),
  )
  @Holds<OrchestratorVariables>(
    'JWT_AUDIENCE to be set too: without it, a token that its issuer made for another service would be taken here',
    ({ jwtJwksUrl, jwtAudience }) => jwtJwksUrl === '' || jwtAudience !== '',
  )
  readonly jwtJwksUrl!: string;

  @Text({ default: '', about: 'Issuer (`iss`) that a JWT must have; empty means any.' })
  readonly jwtIssuer!: string;

  @Text({ default: '', about: 'Audience (`aud`) that a JWT must have; empty means any.' })
  readonly jwtAudience!: string;

  @Text({
    ...ID,
    default: () => `${machineName()}-${process.pid}-${randomBytes(3).toString('hex')}`,
    defaultText: 'host name, process id, random',
    about: 'Name of this replica, unlike that of any other.',
  })
  readonly instanceId!: string;

  @Url({
    schemes: ['postgres', 'postgresql'],
    default: '',
    secret: true,
    about:
      'PostgreSQL for the record; empty means SQLite under `DATA_DIR` (one replica only). TLS: `?sslmode=verify-full&sslrootcert=<CA file>`.',
  })
  readonly databaseUrl!: string;

  @Int({ default: 10, min: 1, max: 1000, unit: 'connections', about: 'Most connections to PostgreSQL.' })
  readonly databasePoolSize!: number;

  @Text({ default: '.data', about: 'Folder of the SQLite file, from the working directory.' })
  readonly dataDir!: string;

  @Flag({ default: true, about: 'Serves Prometheus metrics at `/metrics`.' })
  readonly metricsEnabled!: boolean;

  @Flag({ default: true, about: 'Serves the OpenAPI pages at `/docs` and `/docs-json`.' })
  readonly docsEnabled!: boolean;

  @Int({ default: 25_000, unit: 'ms', about: 'Time for a graceful end after SIGTERM.' })
  readonly shutdownTimeoutMs!: number;

  // The pool of workers

  @Choice({
    of: WORKER_DRIVERS,
    default: 'none',
    about: 'What starts and stops workers; `none` leaves it to you.',
  })
  readonly workerDriver!: WorkerDriver;

  @Int({
    default: 2,
    max: 10_000,
    unit: 'workers',
    about: 'Fewest workers the pool is kept at; 0 = none while nothing waits.',
  })
  @AtMost('maxWorkers')
  readonly minWorkers!: number;

  @Int({ default: 20, max: 10_000, unit: 'workers', about: 'Most workers the pool grows to.' })
  readonly maxWorkers!: number;

  @TextList({
    pattern: WORKER_CLASS_PATTERN,
    expected: 'name:min-max or name:min-max:type+type (min at most max, names of a-z, 0-9 and -)',
    about:
      'Pools with bounds of their own, separated by commas, instead of `MIN_WORKERS` and `MAX_WORKERS`: `general:2-20,sql:0-2:postgresql-query` is a general one and one that offers `postgresql-query` alone. Empty means one class, `default`.',
  })
  @Holds<OrchestratorVariables>('each name once, and min at most max', ({ workerClasses }) => {
    const classes = workerClasses.filter((entry) => WORKER_CLASS_PATTERN.test(entry)).map(parseWorkerClass);
    return (
      new Set(classes.map(({ name }) => name)).size === classes.length &&
      classes.every(({ minWorkers, maxWorkers }) => minWorkers <= maxWorkers)
    );
  })
  readonly workerClasses!: string[];

  @Int({ default: 10_000, min: 50, unit: 'ms', about: 'How often the size of the pool is decided on.' })
  readonly scalingIntervalMs!: number;

  @Int({ default: 15_000, unit: 'ms', about: 'Rest between two changes of the size of a class.' })
  readonly scalingCooldownMs!: number;

  @Int({
    default: 300_000,
    unit: 'ms',
    about: 'The pool shrinks only to the largest size that was wanted in this time.',
  })
  readonly scaleDownStabilizationMs!: number;

  @Decimal({
    default: 0.7,
    min: 0.01,
    max: 1,
    unit: 'ratio',
    about: 'Average load of the workers above which the pool grows, and which it aims at.',
  })
  readonly scaleUpLoad!: number;

  @Decimal({
    default: 0.3,
    min: 0,
    max: 1,
    unit: 'ratio',
    about: 'Average load of the workers below which the pool may shrink.',
  })
  @Below('scaleUpLoad')
  readonly scaleDownLoad!: number;

  @Int({
    default: 60_000,
    min: 100,
    unit: 'ms',
    about:
      'Time in which the pool shall be able to work off what waits: the backlog asks for that many workers.',
  })
  readonly scalingDrainTargetMs!: number;

  @TextList({
    expected: 'a program and its arguments',
    about:
      'Program and arguments, separated by commas, that start a worker under `WORKER_DRIVER=process`; empty means the worker of this installation.',
  })
  readonly workerCommand!: string[];

  @Text({
    default: 'flow-orchestrator:latest',
    pattern: /^\S+$/,
    expected: 'the name of an image',
    about: 'Image of the workers under `WORKER_DRIVER=docker`.',
  })
  readonly dockerImage!: string;

  @Text({
    default: '',
    pattern: /^\S*$/,
    expected: 'the name of a network',
    about: 'Docker network that the workers join; empty means the default one.',
  })
  readonly dockerNetwork!: string;

  @Text({
    default: 'default',
    pattern: /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/,
    expected: 'the name of a namespace',
    about: 'Namespace of the Deployments under `WORKER_DRIVER=kubernetes`.',
  })
  readonly kubernetesNamespace!: string;

  @Text({
    default: 'flow-worker-{class}',
    pattern: /^[a-z0-9{][a-z0-9{}.-]*$/,
    expected: 'the name of a Deployment, {class} stands for the worker class',
    about:
      'Deployment that is scaled under `WORKER_DRIVER=kubernetes`; `{class}` stands for the worker class.',
  })
  readonly kubernetesDeployment!: string;

  @Url({
    schemes: ['https', 'http'],
    default: '',
    about: 'Where `WORKER_DRIVER=webhook` POSTs the wanted number of workers.',
  })
  @Holds<OrchestratorVariables>(
    'a URL, because WORKER_DRIVER is webhook',
    ({ workerDriver, scalingWebhookUrl }) => workerDriver !== 'webhook' || scalingWebhookUrl !== '',
  )
  readonly scalingWebhookUrl!: string;

  @Text({
    default: '',
    pattern: /^(?:.{16,})?$/,
    expected: 'at least 16 characters',
    secret: true,
    about: 'Secret that signs those requests (HMAC-SHA256), at least 16 characters.',
  })
  @Holds<OrchestratorVariables>(
    'a secret of at least 16 characters, because WORKER_DRIVER is webhook: its receiver has to know who asks',
    ({ workerDriver, scalingWebhookSecret }) =>
      workerDriver !== 'webhook' || scalingWebhookSecret.length >= 16,
  )
  readonly scalingWebhookSecret!: string;

  @Choice({
    of: LOAD_BALANCING_STRATEGIES,
    default: 'least_busy',
    about: 'Which of the workers that can run a flow gets it.',
  })
  readonly loadBalancingStrategy!: LoadBalancingStrategy;

  @Int({
    default: 30_000,
    min: 100,
    unit: 'ms',
    about: 'How often the health of queues, workers, broker and store is assessed.',
  })
  readonly healthCheckIntervalMs!: number;

  @Int({
    default: 80,
    min: 1,
    max: 100,
    unit: '%',
    about: 'Memory or CPU use above which a worker gets no new task.',
  })
  readonly workerLoadLimitPercent!: number;

  @Int({
    default: 250,
    min: 10,
    unit: 'ms',
    about: "How often the consumers of the workers' queues are looked at, to notice lost workers.",
  })
  readonly workerPollIntervalMs!: number;

  @Decimal({
    default: 8,
    min: 0.1,
    max: 100,
    unit: 'phi',
    about: 'Suspicion (phi accrual) from which a silent worker gets no new task.',
  })
  readonly suspectPhi!: number;

  @Int({
    default: 4,
    min: 1,
    max: 1000,
    unit: 'heartbeats',
    about: 'Missed heartbeats in a row after which a worker is dead, whatever phi says.',
  })
  readonly deadHeartbeats!: number;

  // Queues and dispatch

  @Int({
    default: 1000,
    min: 1,
    unit: 'messages',
    about: 'Depth above which a queue is reported as too long and the pool grows.',
  })
  readonly queueHighWaterMark!: number;

  @Int({
    default: 100,
    unit: 'messages',
    about: 'Depth below which a queue is short again and the pool may shrink.',
  })
  @AtMost('queueHighWaterMark')
  readonly queueLowWaterMark!: number;

  @Decimal({
    default: 0,
    min: 0,
    max: 0.5,
    unit: 'ratio',
    about: 'Share of decisions that look at low priority first, so that it is never starved.',
  })
  readonly lowPriorityShare!: number;

  @Int({
    default: 250,
    min: 1,
    max: 65_535,
    unit: 'messages',
    about: 'Most undispatched messages that the dispatcher holds, a priority.',
  })
  readonly dispatchPrefetch!: number;

  @Int({
    default: 600_000,
    min: 100,
    unit: 'ms',
    about:
      "Time after which the dispatcher gives a message back that it could not place; keep it below the broker's `consumer_timeout`.",
  })
  readonly consumerHoldLimitMs!: number;

  @Int({
    default: 1_000_000,
    min: 1,
    unit: 'executions',
    about: 'Unfinished executions from which new ones are answered with 503.',
  })
  readonly backlogLimit!: number;

  // Attempts and time

  @Int({
    default: 3,
    min: 1,
    max: 100,
    unit: 'attempts',
    about: 'Attempts an execution has, unless it brings its own number.',
  })
  readonly retryMaxAttempts!: number;

  @IntList({
    default: [1000, 5000, 30_000, 120_000, 600_000],
    min: 1,
    max: DAY_MS,
    unit: 'ms',
    about:
      'Wait before each retry, rising: the first, the second …; the last one serves all further retries.',
  })
  readonly retryTiersMs!: number[];

  @Int({
    default: 1_500_000,
    min: 1,
    max: DAY_MS,
    unit: 'ms',
    about: 'Time one attempt has, unless the execution brings its own.',
  })
  @AtMost('executionTimeoutMaxMs')
  readonly executionTimeoutMs!: number;

  @Int({
    default: 82_800_000,
    min: 1,
    max: DAY_MS,
    unit: 'ms',
    about: 'Longest time an execution may ask for.',
  })
  readonly executionTimeoutMaxMs!: number;

  @Int({ default: 60_000, unit: 'ms', about: 'Longest `waitMs` of a request.' })
  readonly waitLimitMs!: number;

  // What a request may bring

  @Int({
    default: MEBIBYTE,
    min: 1024,
    max: MESSAGE_LIMIT_BYTES,
    unit: 'bytes',
    about: 'Largest body of a request, and largest task.',
  })
  @AtMost('batchBodyLimitBytes')
  readonly bodyLimitBytes!: number;

  @Int({
    default: 32 * MEBIBYTE,
    min: 1024,
    max: 1024 * MEBIBYTE,
    unit: 'bytes',
    about: 'Largest body of a batch.',
  })
  readonly batchBodyLimitBytes!: number;

  @Int({ default: 1000, min: 1, max: 100_000, unit: 'items', about: 'Most executions in a batch.' })
  readonly batchLimitItems!: number;

  @Int({
    default: 5000,
    min: 1,
    max: 1_000_000,
    unit: 'nodes',
    about: 'Most nodes of a flow, those inside maps included.',
  })
  readonly flowMaxNodes!: number;

  @Int({ default: 20_000, max: 10_000_000, unit: 'connections', about: 'Most connections of a flow.' })
  readonly flowMaxConnections!: number;

  @Int({ default: 5, max: 100, unit: 'levels', about: 'How deep maps may be nested in maps.' })
  readonly flowMaxDepth!: number;

  @Choice({
    of: UNKNOWN_NODE_TYPES,
    default: 'wait',
    about: 'What happens to a flow with a node type that no live worker offers.',
  })
  readonly unknownNodeTypes!: UnknownNodeTypes;

  // Leadership, rescue, retention

  @Int({
    default: 5000,
    min: 100,
    unit: 'ms',
    about: "How long a leader's lease holds without renewal: the bound of a failover.",
  })
  readonly leaseTtlMs!: number;

  @Int({ default: 1500, min: 10, unit: 'ms', about: 'How often the leader renews its lease.' })
  @Below('leaseTtlMs')
  readonly leaseRenewIntervalMs!: number;

  @Int({
    default: 5000,
    min: 1,
    unit: 'ms',
    about: 'Age from which an execution whose message is missing gets a new one.',
  })
  readonly rescueAfterMs!: number;

  @Int({ default: 1000, min: 10, unit: 'ms', about: 'How often the rescuer looks for such executions.' })
  readonly rescueIntervalMs!: number;

  @Int({
    default: 604_800_000,
    min: 1,
    max: 3650 * DAY_MS,
    unit: 'ms',
    about: 'Age from which finished executions are deleted.',
  })
  readonly retentionMs!: number;

  @Int({ default: 60_000, min: 100, unit: 'ms', about: 'How often the executions to delete are looked for.' })
  readonly retentionIntervalMs!: number;

  @Int({
    default: 1000,
    min: 1,
    max: 100_000,
    unit: 'executions',
    about: 'Most executions deleted in one transaction.',
  })
  readonly retentionBatch!: number;
}

/** Whether the HTTP API asks who is there. */
export function hasAuthentication({
  apiKeys,
  jwtSecret,
  jwtJwksUrl,
}: Pick<OrchestratorVariables, 'apiKeys' | 'jwtSecret' | 'jwtJwksUrl'>): boolean {
  return apiKeys.length > 0 || jwtSecret !== '' || jwtJwksUrl !== '';
}

function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).hostname.replace(/^\[|\]$/g, '') : '';
}

export class WorkerVariables extends SharedVariables {
  @Text({
    ...ID,
    default: machineName,
    defaultText: 'host name',
    about: 'Name of this worker (also `--id`), unlike that of any other.',
  })
  readonly workerId!: string;

  @Text({
    default: '',
    pattern: /^(?:[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?)?$/,
    expected: 'the name of a worker class',
    about: 'Class it belongs to (`WORKER_CLASSES` of the orchestrator); empty means the first.',
  })
  readonly workerClass!: string;

  @Int({ default: 5, min: 1, max: 10_000, unit: 'flows', about: 'Slots: most flows it runs at a time.' })
  readonly workerMaxConcurrentFlows!: number;

  @Int({
    default: 10,
    min: 1,
    max: 1_000_000,
    unit: 'nodes',
    about: 'Most nodes it runs at a time, over all its flows.',
  })
  readonly workerMaxConcurrentNodes!: number;

  @Int({ default: 1024, min: 1, unit: 'MiB', about: 'Memory it may use: 100 % in its heartbeats.' })
  readonly workerMemoryLimitMb!: number;

  @Decimal({
    default: availableParallelism,
    defaultText: 'cores of the machine',
    min: 0.01,
    max: 4096,
    unit: 'cores',
    about: 'CPU it may use: 100 % in its heartbeats.',
  })
  readonly workerCpuLimitCores!: number;

  @Decimal({
    default: 1,
    min: 0.01,
    max: 1000,
    unit: 'ratio',
    about: 'Its share under the `weighted` strategy, relative to other workers.',
  })
  readonly workerWeight!: number;

  @TextList({
    pattern: /^[a-z0-9][a-z0-9_.-]{0,63}$/,
    expected: 'node types (a-z, 0-9, _ . -)',
    about: 'Node types it offers, separated by commas; empty means all it has.',
  })
  readonly workerNodeTypes!: string[];

  @Int({
    default: 80,
    min: 1,
    max: 100,
    unit: '%',
    about: 'Memory or CPU use from which it reports itself as degraded.',
  })
  @AtMost('workerCriticalPercent')
  readonly workerDegradedPercent!: number;

  @Int({
    default: 95,
    min: 1,
    max: 100,
    unit: '%',
    about: 'Memory or CPU use from which it reports itself as critical.',
  })
  readonly workerCriticalPercent!: number;

  @Int({ default: 5000, min: 1, unit: 'ms', about: 'Longest evaluation of one JSONata expression.' })
  readonly expressionTimeoutMs!: number;

  @TextList({
    pattern: /^[^\s/]+$/,
    expected: 'host names or addresses',
    about:
      'Private hosts that `http-request` may reach, separated by commas; other private hosts are refused.',
  })
  readonly httpAllowHosts!: string[];

  @Int({ default: 10_485_760, min: 1, unit: 'bytes', about: 'Largest response that `http-request` takes.' })
  readonly httpMaxResponseBytes!: number;

  @ConnectionStrings({
    prefix: 'FLOW_CONNECTION_',
    about: 'Connection string that flows name in lower case: `FLOW_CONNECTION_SALES` is `sales`.',
  })
  readonly connections!: Readonly<Record<string, string>>;
}
