import { rateLimited } from './rate-limit.js';
import { highestOf, remember } from './stabilization.js';

/** What an installation wants of its pool; named as in the configuration, so that it can be passed as it is. */
export interface ScalingPolicy {
  /** Average load that the pool aims at, 0..1. */
  scaleUpLoad: number;
  /** Average load below which it may shrink, 0..1. */
  scaleDownLoad: number;
  queueHighWaterMark: number;
  queueLowWaterMark: number;
  /** Rest between two changes. */
  scalingCooldownMs: number;
  /** It shrinks only to the highest size that was wanted in this time. */
  scaleDownStabilizationMs: number;
  /** Time in which it shall be able to work off what waits. */
  scalingDrainTargetMs: number;
}

/** One class of workers at one moment. */
export interface PoolSample {
  /** Monotonic. */
  nowMs: number;
  /** Size asked for so far; workers on their way up make it larger than `liveWorkers`. */
  desired: number;
  /** Ready or joining; draining ones are not counted. */
  liveWorkers: number;
  /** Over the live workers, 0..1; without any it does not matter. */
  averageLoad: number;
  /** Waiting, and some live worker could run it. */
  queuedTasks: number;
  /** Waiting, and no live worker can run it, but one of this class could. */
  unmetTasks: number;
  /** Throughput of one busy worker; null = not known yet. */
  workerTasksPerS: number | null;
  minWorkers: number;
  maxWorkers: number;
  paused: boolean;
}

/** What one decision has to know of those before it. A leader's term begins with `NO_MEMORY`. */
export interface ScalingMemory {
  lastChangeAtMs: number | null;
  recommendations: readonly { atMs: number; desired: number }[];
}

export const NO_MEMORY: ScalingMemory = { lastChangeAtMs: null, recommendations: [] };

/**
 * What the wanted size comes from. `load`: the workers are busier than the target. `backlog`: what waits would take
 * longer than the drain target, beside what runs. `watermark`: more waits than the high watermark. `unmet`: no live worker can run what
 * waits. `idle`: load and queue are low. `steady`: nothing asks for a change. `bounds`: the size lay outside its bounds.
 */
export type ScalingRule = 'load' | 'backlog' | 'watermark' | 'unmet' | 'idle' | 'bounds' | 'steady';

export interface ScalingDecision {
  /** The size to ask for from now on, within the bounds. */
  desired: number;
  action: 'up' | 'down' | 'none';
  rule: ScalingRule;
  /** One sentence with the numbers, for people. */
  reason: string;
  /** What the rule asked for, before bounds, rate, cooldown and stabilization. */
  wanted: number;
  /** Why `desired` is not `wanted`, in the order in which it was applied. */
  heldBackBy: ('bounds' | 'rate' | 'cooldown' | 'stabilization' | 'paused')[];
  /** How long the next change has to wait; 0 = it need not. */
  cooldownLeftMs: number;
}

interface Want {
  desired: number;
  rule: ScalingRule;
  why: string;
}

/** Relative distance from the target load within which nothing is done (HPA's default). */
const TOLERANCE = 0.1;

/**
 * How large a class shall be: the most that load, backlog, watermark and unmet work ask for, then what stabilization,
 * bounds, rate and cooldown leave of it. Pure; made after Kubernetes' HorizontalPodAutoscaler, with two differences: a
 * change waits for the cooldown of the last one, and the pool shrinks only while load and queue are both low.
 *
 * Two changes wait for no cooldown. A size outside its bounds is mended at once and begins none: a person moved the
 * bounds, or the term has just begun. And a class of size 0 with work that no live worker can run leaves 0 at once: a
 * cooldown damps a size that overshoots, and at 0 there is nothing to overshoot while the work stands still.
 */
export function decide(
  sample: PoolSample,
  policy: ScalingPolicy,
  memory: ScalingMemory,
): { decision: ScalingDecision; memory: ScalingMemory } {
  const want = wantOf(sample, policy);
  const recommendations = recommendationsWith(want, sample, policy, memory);
  const mended = withinBounds(sample.desired, sample);
  const { desired, heldBackBy } = limited(want, mended, sample, {
    highestOfWindow: highestOf(recommendations),
    cooldownLeftMs: cooldownLeft(memory.lastChangeAtMs, sample, policy),
  });
  const lastChangeAtMs = desired === mended ? memory.lastChangeAtMs : sample.nowMs;
  const onlyMended = desired === mended && mended !== sample.desired;
  const decision: ScalingDecision = {
    desired,
    action: actionOf(sample.desired, desired),
    rule: onlyMended ? 'bounds' : want.rule,
    reason: onlyMended
      ? boundsReason(sample)
      : want.why + heldBackReason(heldBackBy, desired, sample, policy),
    wanted: want.desired,
    heldBackBy,
    cooldownLeftMs: cooldownLeft(lastChangeAtMs, sample, policy),
  };
  return { decision, memory: { lastChangeAtMs, recommendations } };
}

// ---- what is wanted --------------------------------------------------------------------------------------------

/** The most that any rule asks for; of equals, the first. */
function wantOf(sample: PoolSample, policy: ScalingPolicy): Want {
  return [byLoad(sample, policy), byUnmet(sample), byBacklog(sample, policy), byWatermark(sample, policy)]
    .filter((want) => want !== null)
    .reduce((most, want) => (want.desired > most.desired ? want : most));
}

/**
 * Work that runs, spread to the target load. Workers that are asked for and not live yet count as idle on the way up,
 * so that the same load is not answered twice; on the way down only what runs counts.
 */
function byLoad(sample: PoolSample, policy: ScalingPolicy): Want {
  const { desired, liveWorkers } = sample;
  const busy = busyWorkers(sample);
  const load = liveWorkers === 0 ? 0 : sample.averageLoad;
  const target = policy.scaleUpLoad;
  const needed = ceil(busy / target);
  const size = Math.max(liveWorkers, desired);
  const loadToCome = size === 0 ? 0 : busy / size;
  const seen = `average load ${load.toFixed(2)} of ${liveWorkers} live workers`;
  // A full pool is above every target: with a target of 0.95, load 1 would otherwise be within the tolerance.
  if (needed > size && (loadToCome > target * (1 + TOLERANCE) || loadToCome >= 1)) {
    return { desired: needed, rule: 'load', why: `${seen} is above ${target}: ${needed} workers are needed` };
  }
  const waiting = waitingOf(sample);
  const isIdle = load < policy.scaleDownLoad && waiting < Math.max(1, policy.queueLowWaterMark);
  if (isIdle && needed < desired) {
    const why = `${seen} is below ${policy.scaleDownLoad} and ${waiting} tasks wait: what runs needs ${needed} workers`;
    return { desired: needed, rule: 'idle', why };
  }
  return {
    desired,
    rule: 'steady',
    why: `${seen} and ${waiting} waiting tasks ask for no change of ${desired}`,
  };
}

function byUnmet({ unmetTasks }: PoolSample): Want | null {
  const why = `${unmetTasks} tasks wait that no live worker can run: 1 worker that can is needed`;
  return unmetTasks > 0 ? { desired: 1, rule: 'unmet', why } : null;
}

/**
 * Enough workers to work off what waits within the drain target, on top of those that running work occupies: these are
 * taken. Only live workers can be, so those on their way up are not counted, and while they start the same work asks
 * for the same size in every round. 1 as long as nobody knows how fast they are.
 */
function byBacklog(sample: PoolSample, { scalingDrainTargetMs }: ScalingPolicy): Want | null {
  const waiting = waitingOf(sample);
  const rate = sample.workerTasksPerS;
  if (waiting === 0) {
    return null;
  }
  if (rate === null || rate <= 0) {
    return { desired: 1, rule: 'backlog', why: `${waiting} tasks wait: at least 1 worker is needed` };
  }
  const busy = busyWorkers(sample);
  const needed = ceil(busy + waiting / (rate * (scalingDrainTargetMs / 1_000)));
  const seen = `${waiting} tasks wait and ${busy.toFixed(1)} of ${sample.liveWorkers} live workers are busy`;
  const why = `${seen}: at ${rate.toPrecision(3)} tasks/s a worker, ${needed} workers are needed to end what waits within ${seconds(scalingDrainTargetMs)}`;
  return { desired: needed, rule: 'backlog', why };
}

function byWatermark(sample: PoolSample, { queueHighWaterMark }: ScalingPolicy): Want | null {
  const waiting = waitingOf(sample);
  const { liveWorkers } = sample;
  const why = `${waiting} waiting tasks are above the high watermark of ${queueHighWaterMark}: 1 more than the ${liveWorkers} live workers is needed`;
  return waiting > queueHighWaterMark ? { desired: liveWorkers + 1, rule: 'watermark', why } : null;
}

/** What running work occupies, in whole workers and parts of them. */
function busyWorkers({ liveWorkers, averageLoad }: PoolSample): number {
  return liveWorkers === 0 ? 0 : liveWorkers * averageLoad;
}

function waitingOf({ queuedTasks, unmetTasks }: PoolSample): number {
  return queuedTasks + unmetTasks;
}

/** Rounds up what is more than a rounding error above a whole number: 20 × 0.14 / 0.7 is 4. */
function ceil(workers: number): number {
  return Math.max(0, Math.ceil(workers - 1e-9));
}

// ---- what is left of it ----------------------------------------------------------------------------------------

/** The first one of a term is the size it began with, so that nothing shrinks before a whole window was seen. */
function recommendationsWith(
  want: Want,
  { nowMs, desired }: PoolSample,
  { scaleDownStabilizationMs }: ScalingPolicy,
  { recommendations }: ScalingMemory,
): ScalingMemory['recommendations'] {
  const past = recommendations.length > 0 ? recommendations : [{ atMs: nowMs, desired }];
  return remember(past, { atMs: nowMs, desired: want.desired }, scaleDownStabilizationMs);
}

type Limits = ScalingDecision['heldBackBy'];

/** @param mended the size so far, within the bounds: what every change starts from */
function limited(
  want: Want,
  mended: number,
  sample: PoolSample,
  { highestOfWindow, cooldownLeftMs }: { highestOfWindow: number; cooldownLeftMs: number },
): { desired: number; heldBackBy: Limits } {
  const heldBackBy: Limits = [];
  let desired = want.desired;
  const apply = (limit: Limits[number], allowed: number): void => {
    if (allowed !== desired) {
      heldBackBy.push(limit);
      desired = allowed;
    }
  };
  const leavesZero = sample.desired === 0 && sample.unmetTasks > 0;
  apply('stabilization', desired < sample.desired ? Math.min(sample.desired, highestOfWindow) : desired);
  apply('bounds', withinBounds(desired, sample));
  apply('rate', rateLimited(mended, desired));
  apply('paused', sample.paused ? mended : desired);
  apply('cooldown', cooldownLeftMs > 0 && !leavesZero ? mended : desired);
  return { desired, heldBackBy };
}

function withinBounds(workers: number, { minWorkers, maxWorkers }: PoolSample): number {
  return Math.min(maxWorkers, Math.max(minWorkers, workers));
}

function cooldownLeft(
  lastChangeAtMs: number | null,
  { nowMs }: PoolSample,
  { scalingCooldownMs }: ScalingPolicy,
): number {
  return lastChangeAtMs === null ? 0 : Math.max(0, lastChangeAtMs + scalingCooldownMs - nowMs);
}

// ---- in words --------------------------------------------------------------------------------------------------

function actionOf(before: number, after: number): ScalingDecision['action'] {
  if (after === before) {
    return 'none';
  }
  return after > before ? 'up' : 'down';
}

function boundsReason({ desired, minWorkers, maxWorkers }: PoolSample): string {
  return desired < minWorkers
    ? `${desired} workers are fewer than the minimum of ${minWorkers}`
    : `${desired} workers are more than the maximum of ${maxWorkers}`;
}

function heldBackReason(
  heldBackBy: Limits,
  desired: number,
  { minWorkers, maxWorkers }: PoolSample,
  { scaleDownStabilizationMs }: ScalingPolicy,
): string {
  const words: Record<Limits[number], string> = {
    bounds: `the bounds are ${minWorkers} to ${maxWorkers}`,
    rate: 'one change goes no further',
    cooldown: 'the last change is too recent',
    stabilization: `more was wanted within the last ${seconds(scaleDownStabilizationMs)}`,
    paused: 'scaling is paused',
  };
  return heldBackBy.length === 0
    ? ''
    : `; kept to ${desired}: ${heldBackBy.map((limit) => words[limit]).join(', ')}`;
}

function seconds(ms: number): string {
  return `${ms / 1_000} s`;
}
