import type { WorkerStatus } from '../queue/contracts/fleet.js';

export interface VitalsLimits {
  memoryLimitMb: number;
  cpuLimitCores: number;
  degradedPercent: number;
  criticalPercent: number;
}

export interface Vitals {
  memoryUsagePercent: number;
  cpuUsagePercent: number;
  status: WorkerStatus;
}

const MEBIBYTE = 1024 * 1024;
/** Weight of the newest second of CPU use: a single busy second does not make a worker degraded. */
const SMOOTHING = 0.3;
/** Over less than this CPU use says little: microseconds after a start it came out as 250 to 620 % of a core. */
const SHORTEST_SPAN_MS = 200;

/**
 * Measures this process against the limits it was given. Call `sample` about once a second; CPU use is 0 until the first
 * span that is long enough to be measured, and stays as it was over a shorter one.
 */
export class VitalsMeter {
  private cpu = process.cpuUsage();
  private atMs: number;
  private cpuPercent = 0;

  /** @param now monotonic, ms */
  constructor(
    private readonly limits: VitalsLimits,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.atMs = now();
  }

  sample(): Vitals {
    const now = this.now();
    const used = process.cpuUsage(this.cpu);
    const elapsedMs = now - this.atMs;
    if (elapsedMs >= SHORTEST_SPAN_MS) {
      const percent = (100 * (used.user + used.system)) / 1_000 / elapsedMs / this.limits.cpuLimitCores;
      this.cpuPercent += SMOOTHING * (percent - this.cpuPercent);
      this.cpu = process.cpuUsage();
      this.atMs = now;
    }
    const memoryUsagePercent = (100 * process.memoryUsage.rss()) / (this.limits.memoryLimitMb * MEBIBYTE);
    return {
      memoryUsagePercent: round(memoryUsagePercent),
      cpuUsagePercent: round(this.cpuPercent),
      status: statusOf(Math.max(memoryUsagePercent, this.cpuPercent), this.limits),
    };
  }
}

export function statusOf(
  percent: number,
  limits: Pick<VitalsLimits, 'degradedPercent' | 'criticalPercent'>,
): WorkerStatus {
  if (percent >= limits.criticalPercent) {
    return 'critical';
  }
  return percent >= limits.degradedPercent ? 'degraded' : 'healthy';
}

function round(percent: number): number {
  return Math.round(percent * 10) / 10;
}
