import type { WorkerClass } from '../config/worker-class.js';
import type { ScalingRecord } from '../store/execution-store.js';

/** What holds for a class now: its configuration, and what the record has over it. */
export interface ClassSettings {
  minWorkers: number;
  maxWorkers: number;
  /** `api`: somebody set them while the orchestrator ran. */
  boundsFrom: 'configuration' | 'api';
  paused: boolean;
  /** Null = nobody has decided on a size yet. */
  desired: number | null;
  reason: string;
  /** Of the record; 0 = there is none. */
  revision: number;
  desiredAgeMs: number | null;
  /** Epoch ms by the store's clock; null = there is no record. */
  updatedAt: number | null;
}

export function settingsOf(workerClass: WorkerClass, record: ScalingRecord | undefined): ClassSettings {
  const { minWorkers, maxWorkers } = record ?? { minWorkers: null, maxWorkers: null };
  const overruled = minWorkers !== null && maxWorkers !== null;
  return {
    minWorkers: overruled ? minWorkers : workerClass.minWorkers,
    maxWorkers: overruled ? maxWorkers : workerClass.maxWorkers,
    boundsFrom: overruled ? 'api' : 'configuration',
    paused: record?.paused ?? false,
    desired: record?.desired ?? null,
    reason: record?.reason ?? '',
    revision: record?.revision ?? 0,
    desiredAgeMs: record?.desiredAgeMs ?? null,
    updatedAt: record?.updatedAt ?? null,
  };
}

/** By name, in the order of the configuration. Records of classes that are configured no more are passed over. */
export function allSettings(
  classes: readonly WorkerClass[],
  records: readonly ScalingRecord[],
): Map<string, ClassSettings> {
  return new Map(
    classes.map((workerClass) => [
      workerClass.name,
      settingsOf(
        workerClass,
        records.find((record) => record.workerClass === workerClass.name),
      ),
    ]),
  );
}
