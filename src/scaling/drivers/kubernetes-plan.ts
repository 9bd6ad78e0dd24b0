import { constants } from 'node:os';
import type { PoolWish, WorkerExit } from '../worker-driver.js';
import type { ContainerStatus, Pod } from './kubernetes-api.js';

/** Name of the Deployment of a class; `{class}` in the pattern stands for the class. */
export function deploymentName(pattern: string, workerClass: string): string {
  return pattern.replaceAll('{class}', workerClass);
}

export interface PodPlan {
  /** Pods that shall go first when the number shrinks. */
  first: string[];
  /** Null = it is what it should be. */
  replicas: number | null;
  /** Pods to delete one by one: the Deployment replaces each of them. */
  remove: string[];
}

/**
 * A number alone does not say who goes. Those who are named are marked as the cheapest to lose before the number
 * shrinks; a ReplicaSet still prefers pods that are not ready. Whoever was named and is there when the number fits is
 * deleted by name: either others went in his place, or as many are wished for as before.
 */
export function planPods(
  { instances, retire }: Pick<PoolWish, 'instances' | 'retire'>,
  { replicas, pods }: { replicas: number; pods: readonly Pod[] },
): PodPlan {
  const named = new Set(retire);
  const staying = pods.filter(isStaying);
  const leaving = staying.map(({ metadata }) => metadata.name).filter((name) => named.has(name));
  if (replicas !== instances) {
    return { first: instances < replicas ? leaving : [], replicas: instances, remove: [] };
  }
  // More pods than wished for: the ReplicaSet is about to choose.
  return { first: [], replicas: null, remove: staying.length > instances ? [] : leaving };
}

const isStaying = (pod: Pod): boolean => !isTerminating(pod) && !hasEnded(pod);

/** It was asked to end, by whoever, and has not ended yet. */
export function isTerminating({ metadata }: Pod): boolean {
  return metadata.deletionTimestamp !== undefined;
}

/** A pod of a Deployment ends for good only when the cluster gave it up: evicted, or its node shut down. */
export function hasEnded({ status }: Pod): boolean {
  return status?.phase === 'Succeeded' || status?.phase === 'Failed';
}

export function startedAtMs({ metadata, status }: Pod): number {
  return Date.parse(status?.startTime ?? metadata.creationTimestamp);
}

/** What is remembered of a pod from one look to the next. */
export interface KnownPod {
  pod: Pod;
  workerClass: string;
}

/** By uid: a name may come again. */
export type KnownPods = ReadonlyMap<string, KnownPod>;

/**
 * The ends between two looks. A container that ended by itself is started again in its pod, and counted there. A pod
 * that is gone was deleted, so it was asked to end, by whoever.
 */
export function exitsBetween(before: KnownPods, after: KnownPods, nowMs: number): WorkerExit[] {
  const gone = [...before].filter(([uid, { pod }]) => !after.has(uid) && !hasEnded(pod));
  return [
    ...gone.map(([, known]) => podExit(known, nowMs, true)),
    ...[...after].flatMap(([uid, known]) => exitsIn(before.get(uid)?.pod, known, nowMs)),
  ];
}

/** @param before undefined = it came up since */
function exitsIn(before: Pod | undefined, known: KnownPod, nowMs: number): WorkerExit[] {
  if (before && hasEnded(before)) return [];
  if (hasEnded(known.pod)) return [podExit(known, nowMs, isTerminating(known.pod))];
  const restarted = containersOf(known.pod).find(
    ({ name, restartCount }) => restartCount > (before ? restartsOf(before, name) : 0),
  );
  return restarted ? [restartExit(known, restarted, nowMs)] : [];
}

function podExit({ pod, workerClass }: KnownPod, nowMs: number, retiring: boolean): WorkerExit {
  const livedMs = Math.max(1, nowMs - startedAtMs(pod));
  return { workerId: pod.metadata.name, workerClass, retiring, code: null, signal: null, livedMs };
}

const SIGNAL_BASE = 128;
const SIGNALS = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]));

/** Several restarts between two looks are one exit: only the last of them is on record. */
function restartExit(
  { pod, workerClass }: KnownPod,
  { lastState }: ContainerStatus,
  nowMs: number,
): WorkerExit {
  const { exitCode, startedAt, finishedAt } = lastState?.terminated ?? {};
  const signal = exitCode === undefined ? null : (SIGNALS.get(exitCode - SIGNAL_BASE) ?? null);
  const startMs = startedAt === undefined ? startedAtMs(pod) : Date.parse(startedAt);
  const endMs = finishedAt === undefined ? nowMs : Date.parse(finishedAt);
  return {
    workerId: pod.metadata.name,
    workerClass,
    retiring: isTerminating(pod),
    code: signal === null ? (exitCode ?? null) : null,
    signal,
    // Kubernetes counts whole seconds, and something lived.
    livedMs: Math.max(1, endMs - startMs),
  };
}

const containersOf = ({ status }: Pod): ContainerStatus[] => status?.containerStatuses ?? [];

const restartsOf = (pod: Pod, container: string): number =>
  containersOf(pod).find(({ name }) => name === container)?.restartCount ?? 0;
