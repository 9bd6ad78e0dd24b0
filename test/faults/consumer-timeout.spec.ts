import { afterEach, describe, expect, it } from '@jest/globals';
import { delayFlow } from '../support/api-client.js';
import { expectInvariants, reportFault } from '../support/invariants.js';
import { System } from '../support/system.js';

const TIMEOUT_MS = 5_000;
/** RabbitMQ 3.10 looks for consumers that are over their time once a minute, unless told otherwise. */
const BROKER = {
  config: `consumer_timeout = ${TIMEOUT_MS}\n`,
  advancedConfig: '[{rabbit, [{channel_tick_interval, 500}]}].',
};
const TIMED_OUT = /PRECONDITION.FAILED/;

describe('a consumer_timeout of 5 s on the broker', () => {
  let system: System;
  afterEach(() => system.stop());

  /** What comes due waits as a message in the dispatcher's hands; what could start at once would wait without one. */
  const submitFive = (): Promise<string[]> =>
    Promise.all(Array.from({ length: 5 }, () => system.api.submit(delayFlow(1, { delayMs: 100 }))));

  it('ends the channel of a dispatcher that holds messages: consumption resumes', async () => {
    system = await System.start({ ownBroker: BROKER });
    const ids = await submitFive();
    await system.until('the broker closes its channel', async () =>
      TIMED_OUT.test(system.orchestrators[0]!.output),
    );
    await system.startWorker('worker-1');
    const startedAt = Date.now();
    await Promise.all(ids.map((id) => system.api.untilEnded(id)));
    const recoveryMs = Date.now() - startedAt;
    expect(recoveryMs).toBeLessThan(5_000);
    expect(await expectInvariants(system, ids)).toEqual({ completed: ids.length });
    reportFault('consumer_timeout 5 s: messages held without a worker', {
      executions: ids.length,
      recoveryMs,
    });
  });

  it('does not strike where CONSUMER_HOLD_LIMIT_MS is below it', async () => {
    system = await System.start({ ownBroker: BROKER, env: { CONSUMER_HOLD_LIMIT_MS: '2000' } });
    const ids = await submitFive();
    await new Promise((next) => setTimeout(next, 2.5 * TIMEOUT_MS));
    expect(system.orchestrators[0]!.output).not.toMatch(TIMED_OUT);
    await system.startWorker('worker-1');
    const startedAt = Date.now();
    await Promise.all(ids.map((id) => system.api.untilEnded(id)));
    const recoveryMs = Date.now() - startedAt;
    expect(await expectInvariants(system, ids)).toEqual({ completed: ids.length });
    reportFault('consumer_timeout 5 s: messages given back in time', {
      executions: ids.length,
      recoveryMs,
    });
  });

  it('ends the channel of a worker whose flow takes longer: the flow ends once, as its first attempt', async () => {
    system = await System.start({ ownBroker: BROKER, workers: ['worker-1'] });
    const id = await system.api.submit(delayFlow(3 * TIMEOUT_MS));
    const worker = system.workers.get('worker-1')!;
    await system.until('the broker closes its channel', async () => TIMED_OUT.test(worker.output));
    const closedAt = Date.now();
    const { body } = await system.api.execute(delayFlow(1), '?waitMs=10000');
    expect(body.state).toBe('completed');
    const recoveryMs = Date.now() - closedAt;
    const states = await expectInvariants(system, [id, body.executionId]);
    expect(states).toEqual({ completed: 2 });
    expect((await system.api.execution(id)).body.attempt).toBe(1);
    reportFault('consumer_timeout 5 s: a flow of 15 s', { executions: 2, recoveryMs });
  });
});
