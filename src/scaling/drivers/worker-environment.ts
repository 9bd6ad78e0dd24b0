import type { WorkerClass } from '../../config/worker-class.js';
import { OrchestratorVariables, WorkerVariables } from '../../config/config.schema.js';
import { variablesOf } from '../../config/variable.js';

type Environment = Readonly<Record<string, string | undefined>>;

const namesOf = (schema: object): ReadonlySet<string> => new Set(variablesOf(schema).map(({ name }) => name));
const OF_WORKERS = namesOf(WorkerVariables);
const OF_ORCHESTRATORS = namesOf(OrchestratorVariables);
/** Also for workers that are not ours, and have variables of their own. */
const WORKER_PREFIX = /^(?:WORKER_|FLOW_CONNECTION_|AMQP_)/;

/** Of an orchestrator's environment, the variables of a worker: none of those that only an orchestrator has. */
export function workerVariables(environment: Environment): Record<string, string> {
  return pick(
    environment,
    (name) => OF_WORKERS.has(name) || (WORKER_PREFIX.test(name) && !OF_ORCHESTRATORS.has(name)),
  );
}

/** What a program needs of the machine it runs on. A list, so that no secret gets in because nobody thought of it. */
const SURROUNDINGS = new RegExp(
  `^(?:${[
    'PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_[A-Z]+|TZ|TMPDIR|TMP|TEMP|LD_LIBRARY_PATH|UV_THREADPOOL_SIZE',
    'NODE_(?:ENV|OPTIONS|PATH|EXTRA_CA_CERTS|TLS_REJECT_UNAUTHORIZED|USE_ENV_PROXY|COMPILE_CACHE)',
    'SSL_CERT_(?:FILE|DIR)|(?:HTTPS?|ALL|NO)_PROXY|OTEL_[A-Z_]+',
    'PYTHON[A-Z]+|VIRTUAL_ENV',
  ].join('|')})$`,
  'i',
);

export interface ChildEnvironmentOptions {
  /** The orchestrator's own. */
  environment: Environment;
  workerId: string;
  workerClass: WorkerClass;
  drainDeadlineMs: number;
}

/** The environment of a worker that runs beside the orchestrator, as a process of the same machine. */
export function childEnvironment(options: ChildEnvironmentOptions): Record<string, string> {
  const { environment, workerId, workerClass, drainDeadlineMs } = options;
  return {
    LOG_FORMAT: 'json',
    ...pick(environment, (name) => SURROUNDINGS.test(name)),
    ...workerVariables(environment),
    ...(workerClass.nodeTypes.length > 0 && { WORKER_NODE_TYPES: workerClass.nodeTypes.join(',') }),
    WORKER_ID: workerId,
    WORKER_CLASS: workerClass.name,
    // The kill counts from the same deadline.
    WORKER_DRAIN_DEADLINE_MS: String(drainDeadlineMs),
    // Its output is a file, and passes through another program's.
    NO_COLOR: '1',
  };
}

function pick(environment: Environment, wanted: (name: string) => boolean): Record<string, string> {
  return Object.fromEntries(
    Object.entries(environment).flatMap(([name, value]) =>
      value !== undefined && wanted(name) ? [[name, value]] : [],
    ),
  );
}
