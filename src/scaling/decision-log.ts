import type { PoolSample, ScalingDecision, ScalingRule } from './decision.js';

/** One decision with the numbers it rests on. */
export interface LoggedDecision extends Pick<ScalingDecision, 'reason' | 'wanted' | 'heldBackBy'> {
  /** ISO 8601. */
  at: string;
  action: ScalingDecision['action'];
  /** `manual`: a person asked for it. */
  rule: ScalingRule | 'manual';
  from: number;
  to: number;
  numbers: Pick<
    PoolSample,
    | 'liveWorkers'
    | 'averageLoad'
    | 'queuedTasks'
    | 'unmetTasks'
    | 'workerTasksPerS'
    | 'minWorkers'
    | 'maxWorkers'
    | 'paused'
  >;
}

const LIMIT = 50;

/** The last decisions of one class: changes and refusals. What is decided again, round after round, is kept once. */
export class DecisionLog {
  private readonly entries: LoggedDecision[] = [];
  private lastKey = '';

  /** Newest first. */
  get newest(): readonly LoggedDecision[] {
    return this.entries.toReversed();
  }

  add(entry: LoggedDecision): void {
    const { action, rule, to, heldBackBy } = entry;
    const key = [action, rule, to, ...heldBackBy].join();
    const isNews = action !== 'none' || (heldBackBy.length > 0 && key !== this.lastKey);
    this.lastKey = key;
    if (isNews) {
      this.entries.push(entry);
      this.entries.splice(0, this.entries.length - LIMIT);
    }
  }
}
