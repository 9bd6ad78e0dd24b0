import { Injectable } from '@nestjs/common';
import { OrchestratorConfigService } from '../config/orchestrator-config.service.js';
import type { WorkerClass } from '../config/worker-class.js';
import { ExecutionStore } from '../store/execution-store.js';
import { WorkerManagementService } from '../worker/worker-management.service.js';
import { type Census, takeCensus } from './census.js';
import type { ClassStatus } from './class-scaling.js';
import { allSettings, type ClassSettings } from './class-settings.js';
import { ScalingService } from './scaling.service.js';

/** One class as this replica can show it. */
export interface ClassOverview {
  workerClass: WorkerClass;
  /** By the record. `desired` is the minimum until the first decision. */
  settings: ClassSettings & { desired: number };
  workers: ClassHeads;
  /** What only the leader knows; null on every other replica. */
  status: ClassStatus | null;
}

export interface ClassHeads {
  live: number;
  ready: number;
  draining: number;
  /** Launched, and not registered yet; null where only the leader knows. */
  starting: number | null;
}

/** The classes with their sizes: from the record, from the pool as this replica sees it, and from the leader if it is one. */
@Injectable()
export class ScalingOverview {
  constructor(
    private readonly config: OrchestratorConfigService,
    private readonly store: ExecutionStore,
    private readonly workers: WorkerManagementService,
    private readonly scaling: ScalingService,
  ) {}

  get classes(): readonly [WorkerClass, ...WorkerClass[]] {
    return this.scaling.classes;
  }

  get driver(): { name: OrchestratorConfigService['workerDriver']; problem: string | null } {
    return { name: this.config.workerDriver, problem: this.scaling.problem };
  }

  /** What keeps the pool from its size, as far as this replica knows; for people. */
  get problems(): string[] {
    const { problem } = this.scaling;
    const backOffs = this.classes
      .filter(({ name }) => this.scaling.statusOf(name)?.backOff)
      .map(({ name }) => `workers of the class ${name} end at their start: launches wait for its back-off`);
    return [...(problem === null ? [] : [problem]), ...backOffs];
  }

  /** The size that the leader goes by; null on every other replica. */
  decidedSize(workerClass: string): number | null {
    return this.scaling.statusOf(workerClass)?.desired ?? null;
  }

  onScaled(listener: (change: { workerClass: string; direction: 'up' | 'down' }) => void): void {
    this.scaling.on('scaled', listener);
  }

  /**
   * The class that would run tasks of these types has fewer workers than it shall have.
   *
   * @param pool what the live workers can do about them; a class without node types of its own is no promise where
   * there are workers and none of them has the types
   */
  growthFor(requiredTypes: string, pool: 'free' | 'full' | 'none'): { from: number; to: number } | null {
    const required = requiredTypes.split(',');
    const heads = this.heads();
    const isEmpty = [...heads.values()].every(({ live }) => live === 0);
    for (const { name, nodeTypes } of this.classes) {
      const covers =
        nodeTypes.length === 0
          ? pool !== 'none' || isEmpty
          : required.every((type) => nodeTypes.includes(type));
      const { live } = heads.get(name)!;
      const desired = this.decidedSize(name) ?? 0;
      if (covers && desired > live) {
        return { from: live, to: desired };
      }
    }
    return null;
  }

  /** @throws if the database is away */
  async read(): Promise<ClassOverview[]> {
    const settings = await this.settings();
    const heads = this.heads();
    return this.classes.map((workerClass) => {
      const { name } = workerClass;
      const status = this.scaling.statusOf(name);
      const counts = { ...heads.get(name)!, starting: status?.starting ?? null };
      return { workerClass, settings: settings.get(name)!, workers: counts, status };
    });
  }

  /** @throws if the database is away */
  async settings(): Promise<Map<string, ClassSettings & { desired: number }>> {
    const settings = allSettings(this.classes, await this.store.scalingRecords());
    return new Map(
      [...settings].map(([name, one]) => [name, { ...one, desired: one.desired ?? one.minWorkers }]),
    );
  }

  /** Who there is of each class, without a question to anybody. */
  heads(): Map<string, Omit<ClassHeads, 'starting'>> {
    const censuses = takeCensus(this.classes, this.workers.pool.all(), {
      instances: [],
      has: () => false,
      isStray: () => false,
    });
    return new Map([...censuses].map(([name, census]) => [name, headsOf(census)]));
  }
}

function headsOf({ live, ready, draining }: Census): Omit<ClassHeads, 'starting'> {
  return { live: live.length, ready, draining };
}
