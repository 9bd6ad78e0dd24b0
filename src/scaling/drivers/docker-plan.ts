import { constants } from 'node:os';
import type { PoolWish, WorkerExit } from '../worker-driver.js';
import type { ContainerEnd, ContainerSummary } from './docker-engine.js';

export const LABELS = {
  installation: 'flow-orchestrator.installation',
  workerClass: 'flow-orchestrator.worker-class',
  workerId: 'flow-orchestrator.worker-id',
} as const;

/** A container as the driver sees it. */
export interface WorkerContainer {
  id: string;
  workerId: string;
  workerClass: string;
  /** `ended` and `unstarted` ones are to be removed; `leaving` ones are being removed by the engine. */
  state: 'running' | 'ended' | 'unstarted' | 'leaving';
  startedAtMs: number;
  /** When it was asked to end; null = it was not. */
  retiringSinceMs: number | null;
}

const STATES: Readonly<Record<string, WorkerContainer['state']>> = {
  created: 'unstarted',
  exited: 'ended',
  dead: 'ended',
  removing: 'leaving',
};

const RETIRING_NAME = /\.retiring\.(\d+)$/;

/**
 * Labels cannot change, a name can. So it is the name that says, to whoever leads next, that a worker was asked to end
 * and when.
 */
export function retiringName(workerId: string, nowMs: number): string {
  return `${workerId}.retiring.${Math.ceil(nowMs / 1000)}`;
}

/** Containers of this installation; what has not all labels is none of ours. */
export function workerContainers(
  found: readonly ContainerSummary[],
  installation: string,
): WorkerContainer[] {
  return found.flatMap(({ Id, Names, State, Created, Labels }) => {
    const workerId = Labels[LABELS.workerId];
    const workerClass = Labels[LABELS.workerClass];
    if (!workerId || !workerClass || Labels[LABELS.installation] !== installation) return [];
    const since = Names.map((name) => RETIRING_NAME.exec(name)?.[1]).find((match) => match !== undefined);
    return {
      id: Id,
      workerId,
      workerClass,
      state: STATES[State] ?? 'running',
      startedAtMs: Created * 1000,
      retiringSinceMs: since === undefined ? null : Number(since) * 1000,
    };
  });
}

export interface DockerPlan {
  /** A wish for each container to start. */
  start: PoolWish[];
  retire: WorkerContainer[];
  /** Asked to end so long ago that they will not do it by themselves. */
  kill: WorkerContainer[];
}

/** @param graceMs after which one that was asked to end and goes on is killed */
export function planOf(
  containers: readonly WorkerContainer[],
  wishes: readonly PoolWish[],
  nowMs: number,
  graceMs: number,
): DockerPlan {
  const running = containers.filter(({ state }) => state === 'running');
  const named = new Set(wishes.flatMap(({ retire }) => retire));
  const staying = running.filter(
    ({ workerId, retiringSinceMs }) => retiringSinceMs === null && !named.has(workerId),
  );
  return {
    start: wishes.flatMap((wish) => {
      const has = staying.filter(({ workerClass }) => workerClass === wish.workerClass.name).length;
      return Array.from({ length: Math.max(0, wish.instances - has) }, () => wish);
    }),
    retire: running.filter(
      ({ workerId, retiringSinceMs }) => retiringSinceMs === null && named.has(workerId),
    ),
    kill: running.filter(
      ({ retiringSinceMs }) => retiringSinceMs !== null && nowMs - retiringSinceMs > graceMs,
    ),
  };
}

const SIGNAL_BASE = 128;
const SIGNALS = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]));

/** Docker reports the end by a signal as 128 and its number, like a shell; Node as a signal without a code. */
export function exitOf(
  { workerId, workerClass, retiringSinceMs }: WorkerContainer,
  { ExitCode, StartedAt, FinishedAt }: ContainerEnd,
): WorkerExit {
  const signal = SIGNALS.get(ExitCode - SIGNAL_BASE) ?? null;
  return {
    workerId,
    workerClass,
    retiring: retiringSinceMs !== null,
    code: signal === null ? ExitCode : null,
    signal,
    livedMs: Math.max(0, Date.parse(FinishedAt) - Date.parse(StartedAt)),
  };
}
