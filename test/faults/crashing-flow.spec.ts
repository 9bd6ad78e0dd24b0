import { afterEach, describe, expect, it } from '@jest/globals';
import type { FlowExecutionMessage } from '../../src/queue/contracts/flow-execution.js';
import { delayFlow, flow } from '../support/api-client.js';
import { expectInvariants, Load, reportFault } from '../support/invariants.js';
import { System } from '../support/system.js';

const WORKERS = ['worker-1', 'worker-2'];
/** Some hundred megabytes in one array, in a process that may have sixty. */
const MEMORY_EATER = '[1..9000000].{"value": $string($)}';
const ENDLESS_LOOP = '($loop := function($n) { $loop($n + 1) }; $loop(0))';

const SMALL = { NODE_OPTIONS: '--max-old-space-size=60', WORKER_MAX_CONCURRENT_FLOWS: '4' };

const transform = (expression: string, rest: Partial<FlowExecutionMessage> = {}) =>
  flow([{ id: 'transform', type: 'data-transform', config: { expression } }], rest);

/** Starts a worker again whenever it ends, as the platform it runs on would. */
class Supervisor {
  restarts = 0;
  private stopped = false;

  constructor(
    private readonly system: System,
    workers: string[],
  ) {
    workers.forEach((id) => void this.watch(id));
  }

  stop(): void {
    this.stopped = true;
  }

  private async watch(id: string): Promise<void> {
    for (let part = this.system.workers.get(id)!; ; part = this.system.launchWorker(id)) {
      await part.exited;
      if (this.stopped) {
        return;
      }
      this.restarts++;
    }
  }
}

describe('a flow that takes its worker down', () => {
  let system: System;
  let supervisor: Supervisor | undefined;
  afterEach(async () => {
    supervisor?.stop();
    await system.stop();
  });

  it('by memory: it is dead after its attempts and names its worker; its neighbours finish', async () => {
    system = await System.start({
      workers: WORKERS,
      workerEnv: SMALL,
    });
    supervisor = new Supervisor(system, WORKERS);
    const neighbours = await Promise.all(
      Array.from({ length: 5 }, () => system.api.submit(delayFlow(4_000))),
    );
    await Promise.all(neighbours.map((id) => system.api.untilState(id, 'running')));
    const guilty = await system.api.submit(transform(MEMORY_EATER));
    const submittedAt = Date.now();
    const dead = await system.api.until(guilty, ({ state }) => state === 'dead', 120_000);
    const recoveryMs = Date.now() - submittedAt;
    expect(dead).toMatchObject({ attempt: 3, maxAttempts: 3 });
    expect(dead.error.code).toMatch(/^(worker_lost|interrupted)$/);
    expect(dead.error.message).toMatch(/^attempt 3 of 3 failed: worker worker-[12] was lost: /);
    expect(supervisor.restarts).toBe(3);
    const states = await expectInvariants(system, [...neighbours, guilty], { states: ['completed', 'dead'] });
    expect(states).toEqual({ completed: neighbours.length, dead: 1 });
    const ended = await Promise.all(neighbours.map(async (id) => (await system.api.execution(id)).body));
    expect(ended.some(({ attempt }) => attempt > 1)).toBe(true);
    await Promise.all(WORKERS.map((id) => system.untilAssignable(id)));
    const after = await system.api.execute(delayFlow(1), '?waitMs=5000');
    expect(after.body.state).toBe('completed');
    const { body: letters } = await system.api.get('/orchestrator/dead-letters?kind=execution');
    expect(letters.items.map(({ executionId }: { executionId: string }) => executionId)).toEqual([guilty]);
    reportFault('a flow that uses up the memory of its worker, 3 times', {
      executions: neighbours.length + 2,
      recoveryMs,
      note: 'until it is dead',
    });
  });

  it('beside others on the only worker, busy all the time: suspects run alone, so that only the guilty is dead', async () => {
    system = await System.start({ workers: ['worker-1'], workerEnv: SMALL });
    supervisor = new Supervisor(system, ['worker-1']);
    const retry = { maxAttempts: 2 };
    const neighbours = await Promise.all(
      Array.from({ length: 3 }, () => system.api.submit(delayFlow(1_000, { retry }))),
    );
    const guilty = await system.api.submit(transform(MEMORY_EATER, { retry }));
    const submittedAt = Date.now();
    await system.api.until(guilty, ({ attempt }) => attempt === 2);
    // Without a worker being kept free these would have a flow on it at every moment.
    const load = new Load(system, 10, delayFlow(300));
    const dead = await system.api.until(guilty, ({ state }) => state === 'dead');
    const recoveryMs = Date.now() - submittedAt;
    expect(dead.error.message).toMatch(/^attempt 2 of 2 failed: worker worker-1 was lost: /);
    await Promise.all(neighbours.map((id) => system.api.untilEnded(id)));
    const others = await load.stop();
    expect(supervisor.restarts).toBe(2);
    await expectInvariants(system, [...neighbours, ...others]);
    const ended = await Promise.all(neighbours.map(async (id) => (await system.api.execution(id)).body));
    expect(ended.map(({ attempt }) => attempt)).toEqual([2, 2, 2]);
    // Alone means that none of them began before the one before it had ended, the guilty one included.
    const spans = [dead, ...ended]
      .map(({ assignedAt, finishedAt }) => [new Date(assignedAt), new Date(finishedAt)] as const)
      .toSorted(([a], [b]) => a.getTime() - b.getTime());
    spans.slice(1).forEach(([begin], index) => {
      expect(begin.getTime()).toBeGreaterThanOrEqual(spans[index]![1].getTime());
    });
    reportFault('suspects on the only worker run alone', {
      executions: neighbours.length + others.length + 1,
      recoveryMs,
      note: 'until the guilty one is dead',
    });
  });

  it('by an endless loop: it fails in time, its worker lives, its neighbours finish undisturbed', async () => {
    system = await System.start({ workers: ['worker-1'], workerEnv: { EXPRESSION_TIMEOUT_MS: '1000' } });
    const neighbours = await Promise.all(
      Array.from({ length: 3 }, () => system.api.submit(delayFlow(1_500))),
    );
    const guilty = await system.api.submit(transform(ENDLESS_LOOP));
    const submittedAt = Date.now();
    const failed = await system.api.untilEnded(guilty);
    const recoveryMs = Date.now() - submittedAt;
    expect(failed).toMatchObject({ state: 'failed', attempt: 1 });
    expect(failed.error.message).toContain('longer than the limit of 1000 ms');
    await expectInvariants(system, neighbours);
    const ended = await Promise.all(neighbours.map(async (id) => (await system.api.execution(id)).body));
    expect(ended.map(({ attempt }) => attempt)).toEqual([1, 1, 1]);
    expect(system.workers.get('worker-1')!.isRunning).toBe(true);
    reportFault('a flow that loops for ever', { executions: neighbours.length + 1, recoveryMs });
  });
});
