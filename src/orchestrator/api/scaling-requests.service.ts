import { Injectable } from '@nestjs/common';
import type { ClassSettings } from '../../scaling/class-settings.js';
import { type ClassOverview, ScalingOverview } from '../../scaling/scaling-overview.js';
import { ScalingService } from '../../scaling/scaling.service.js';
import { ExecutionStore } from '../../store/execution-store.js';
import { Leadership } from '../leadership.js';
import { type FieldProblem, invalidRequest } from './problem.js';
import type {
  DesiredView,
  ManualScalingRequest,
  ScalingBoundsRequest,
  ScalingClassView,
  ScalingView,
} from './scaling.dto.js';

const NO_REASON = 'a person asked for it';

/**
 * What people want to know and change about scaling. Changes go to the record, from which the leader takes them:
 * so they may be made at any replica.
 */
@Injectable()
export class ScalingRequests {
  constructor(
    private readonly store: ExecutionStore,
    private readonly leadership: Leadership,
    private readonly overview: ScalingOverview,
    private readonly scaling: ScalingService,
  ) {}

  async view(): Promise<ScalingView> {
    const classes = await this.overview.read();
    return {
      driver: this.overview.driver,
      leader: this.leadership.status(),
      classes: classes.map(toClassView),
    };
  }

  /** What an autoscaler of somebody else's needs, from the record. */
  async desired(): Promise<DesiredView> {
    const settings = [...(await this.overview.settings())];
    return {
      desired: settings.reduce((sum, [, { desired }]) => sum + desired, 0),
      classes: Object.fromEntries(
        settings.map(([name, { desired, minWorkers, maxWorkers, reason }]) => [
          name,
          { desired, min: minWorkers, max: maxWorkers, reason },
        ]),
      ),
    };
  }

  /** @throws ProblemException 422 for a class that is not there, or a size outside its bounds */
  async setDesired({
    workerClass,
    desired,
    reason = NO_REASON,
  }: ManualScalingRequest): Promise<ScalingClassView> {
    const name = this.classNamed(workerClass);
    const { minWorkers, maxWorkers } = (await this.overview.settings()).get(name)!;
    if (desired < minWorkers || desired > maxWorkers) {
      throw outsideBounds(name, { desired, minWorkers, maxWorkers });
    }
    await this.store.changeScaling(name, { desired, reason });
    return this.changed(name);
  }

  /** @throws ProblemException 422 */
  async setBounds(request: ScalingBoundsRequest): Promise<ScalingClassView> {
    const name = this.classNamed(request.workerClass);
    const { minWorkers = null, maxWorkers = null } = request;
    const fault = faultOfBounds(minWorkers, maxWorkers);
    if (fault) {
      throw invalidRequest([fault]);
    }
    await this.store.changeScaling(name, { minWorkers, maxWorkers });
    return this.changed(name);
  }

  /** @throws ProblemException 422 */
  async setPaused(workerClass: string | undefined, paused: boolean): Promise<ScalingClassView> {
    const name = this.classNamed(workerClass);
    await this.store.changeScaling(name, { paused });
    return this.changed(name);
  }

  /** The leader sees it with its next round; if that is us, the round is now. */
  private async changed(name: string): Promise<ScalingClassView> {
    this.scaling.wake();
    const classes = await this.overview.read();
    return toClassView(classes.find(({ workerClass }) => workerClass.name === name)!);
  }

  private classNamed(given: string | undefined): string {
    const names = this.overview.classes.map(({ name }) => name);
    if (given === undefined && names.length === 1) {
      return names[0]!;
    }
    if (given !== undefined && names.includes(given)) {
      return given;
    }
    throw unknownClass(given, names);
  }
}

export function unknownClass(given: string | undefined, names: readonly string[]): Error {
  const got = given === undefined ? 'nothing, and there are several' : JSON.stringify(given);
  return invalidRequest([
    { pointer: '/workerClass', message: `expected one of ${names.join(', ')}, got ${got}` },
  ]);
}

export function outsideBounds(
  name: string,
  { desired, minWorkers, maxWorkers }: Pick<ClassSettings, 'minWorkers' | 'maxWorkers'> & { desired: number },
): Error {
  const message = `expected ${minWorkers} to ${maxWorkers}, the bounds of the class ${name}, got ${desired}: change them with PUT /orchestrator/scaling/bounds`;
  return invalidRequest([{ pointer: '/desired', message }]);
}

function faultOfBounds(minWorkers: number | null, maxWorkers: number | null): FieldProblem | null {
  if ((minWorkers === null) !== (maxWorkers === null)) {
    return {
      pointer: minWorkers === null ? '/minWorkers' : '/maxWorkers',
      message: 'expected both bounds, or null for both, got one of them',
    };
  }
  return minWorkers !== null && minWorkers > maxWorkers!
    ? { pointer: '/minWorkers', message: `expected at most maxWorkers (${maxWorkers}), got ${minWorkers}` }
    : null;
}

function toClassView({ workerClass, settings, workers, status }: ClassOverview): ScalingClassView {
  const { desired, reason, updatedAt, minWorkers, maxWorkers, boundsFrom, paused } = settings;
  return {
    workerClass: workerClass.name,
    nodeTypes: workerClass.nodeTypes,
    desired,
    reason,
    updatedAt: updatedAt === null ? null : new Date(updatedAt).toISOString(),
    workers,
    bounds: { minWorkers, maxWorkers, from: boundsFrom },
    paused,
    cooldownLeftMs: status?.cooldownLeftMs ?? null,
    backOff: status?.backOff
      ? { until: new Date(Date.now() + status.backOff.leftMs).toISOString(), crashes: status.backOff.crashes }
      : null,
    decisions: status?.decisions ?? null,
  };
}
