/** A pool of its own: workers that are alike, with its bounds. */
export interface WorkerClass {
  name: string;
  minWorkers: number;
  maxWorkers: number;
  /** Node types that its workers offer (`WORKER_NODE_TYPES`); empty = all that a worker has. */
  nodeTypes: readonly string[];
}

/** How one entry of `WORKER_CLASSES` is written. */
export const WORKER_CLASS_PATTERN =
  /^([a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?):(\d{1,4})-(\d{1,4})(?::([a-z0-9][a-z0-9_.-]*(?:\+[a-z0-9][a-z0-9_.-]*)*))?$/;

const DEFAULT_CLASS = 'default';

/** `sql:0-2:postgresql-query+filter` → the class `sql` with 0 to 2 workers that offer these two node types. */
export function parseWorkerClass(entry: string): WorkerClass {
  const [, name, min, max, types] = WORKER_CLASS_PATTERN.exec(entry)!;
  return {
    name: name!,
    minWorkers: Number(min),
    maxWorkers: Number(max),
    nodeTypes: types === undefined ? [] : types.split('+'),
  };
}

/** The classes of an installation, in the order given; the first also has the workers that name no class. */
export function workerClassesOf(config: {
  workerClasses: readonly string[];
  minWorkers: number;
  maxWorkers: number;
}): readonly [WorkerClass, ...WorkerClass[]] {
  const [first, ...others] = config.workerClasses.map(parseWorkerClass);
  const { minWorkers, maxWorkers } = config;
  return first ? [first, ...others] : [{ name: DEFAULT_CLASS, minWorkers, maxWorkers, nodeTypes: [] }];
}
