import { describe, expect, it } from '@jest/globals';
import { statusOf, VitalsMeter } from '../../../src/runtime/vitals.js';

const LIMITS = { memoryLimitMb: 16_384, cpuLimitCores: 1, degradedPercent: 75, criticalPercent: 90 };

/** Keeps this thread busy for so much CPU time of the process. */
function burn(ms: number): void {
  const before = process.cpuUsage();
  for (let usedMs = 0; usedMs < ms;) {
    const { user, system } = process.cpuUsage(before);
    usedMs = (user + system) / 1_000;
  }
}

describe('the vitals of a worker', () => {
  let nowMs = 0;
  const meterAt = (startMs: number): VitalsMeter => {
    nowMs = startMs;
    return new VitalsMeter(LIMITS, () => nowMs);
  };

  it('say nothing of the CPU before there was time to measure it, however busy the start is', () => {
    const meter = meterAt(1_000);
    burn(5);
    nowMs += 1;
    expect(meter.sample()).toMatchObject({ cpuUsagePercent: 0, status: 'healthy' });
  });

  it('give a busy span its weight, and count one too short to be measured with the next', () => {
    const meter = meterAt(1_000);
    burn(200);
    nowMs += 200;
    const { cpuUsagePercent } = meter.sample();
    expect(cpuUsagePercent).toBeGreaterThanOrEqual(30);
    burn(50);
    nowMs += 100;
    expect(meter.sample().cpuUsagePercent).toBe(cpuUsagePercent);
    burn(150);
    nowMs += 100;
    // What the first of the two burned is among it: 100 % and not 75.
    expect(meter.sample().cpuUsagePercent).toBeGreaterThanOrEqual(0.7 * cpuUsagePercent + 29.9);
  });

  it('are those of memory or CPU, whichever is nearer to its limit', () => {
    const meter = new VitalsMeter({ ...LIMITS, memoryLimitMb: 1 });
    const { memoryUsagePercent, status } = meter.sample();
    expect(memoryUsagePercent).toBeGreaterThan(1_000);
    expect(status).toBe('critical');
    expect([74.9, 75, 89.9, 90].map((percent) => statusOf(percent, LIMITS))).toEqual([
      'healthy',
      'degraded',
      'degraded',
      'critical',
    ]);
  });
});
