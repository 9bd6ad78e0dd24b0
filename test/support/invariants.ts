import { appendFileSync } from 'node:fs';
import { expect } from '@jest/globals';
import { TERMINAL_STATES } from '../../src/store/transitions.js';
import { delayFlow } from './api-client.js';
import type { System } from './system.js';

/**
 * INV: every id that was answered 202 has exactly one terminal record, no result was recorded twice or changed, no
 * queue of ours holds anything, and every worker slot is free again.
 */
export async function expectInvariants(
  system: System,
  ids: string[],
  options: { states?: string[]; timeoutMs?: number } = {},
): Promise<Record<string, number>> {
  const { states = ['completed'], timeoutMs = 60_000 } = options;
  const first = await mapSome(ids, (id) => endOf(system, id, timeoutMs));
  await system.until('the queues are empty', () => queuesAreEmpty(system), undefined, 30_000);
  await system.until('every slot is free', () => slotsAreFree(system), undefined, 30_000);
  const again = await mapSome(ids, (id) => endOf(system, id, 10_000));
  expect(again).toEqual(first);
  expect(first.filter(({ state }) => !states.includes(state))).toEqual([]);
  for (const { attempts } of first) {
    const numbers = attempts.map(({ attempt }: { attempt: number }) => attempt);
    expect(numbers).toEqual(numbers.toSorted((a: number, b: number) => a - b));
    expect(
      attempts.filter(({ outcome }: { outcome: string }) => outcome === 'completed').length,
    ).toBeLessThanOrEqual(1);
  }
  return countBy(first.map(({ state }) => state));
}

const QUESTIONS_AT_ONCE = 50;

/** Asks about all of them, some at a time: a soak has thousands, and each question is a connection. */
async function mapSome<T>(ids: string[], ask: (id: string) => Promise<T>): Promise<T[]> {
  const answers: T[] = [];
  let next = 0;
  const asker = async (): Promise<void> => {
    while (next < ids.length) {
      const index = next++;
      answers[index] = await ask(ids[index]!);
    }
  };
  await Promise.all(Array.from({ length: QUESTIONS_AT_ONCE }, asker));
  return answers;
}

async function endOf(system: System, id: string, timeoutMs: number) {
  const execution = await system.liveApi.until(id, ({ state }) => TERMINAL_STATES.includes(state), timeoutMs);
  const { executionId, state, attempt, workerId, result, error, attempts, finishedAt } = execution;
  return { executionId, state, attempt, workerId, result, error, attempts, finishedAt };
}

async function queuesAreEmpty(system: System): Promise<boolean> {
  const listed = await system.broker.ctl([
    'list_queues',
    '-q',
    '-p',
    system.vhost,
    'name',
    'messages',
    '--formatter',
    'json',
  ]);
  const queues = JSON.parse(listed) as { name: string; messages: number }[];
  // Each replica's own, server-named queue always has the heartbeats that are on their way to it.
  return queues.every(({ name, messages }) => messages === 0 || name.startsWith('amq.gen-'));
}

async function slotsAreFree(system: System): Promise<boolean> {
  const leader = await system.leaderApi();
  const { body } = await leader.get('/orchestrator/workers');
  return body.items.every(
    (worker: { heldExecutionIds: string[]; performance: { tasksInProgress: number } }) =>
      worker.heldExecutionIds.length === 0 && worker.performance.tasksInProgress === 0,
  );
}

function countBy(states: string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  states.forEach((state) => {
    counts[state] = (counts[state] ?? 0) + 1;
  });
  return counts;
}

/** One line of the table that the run prints at its end. */
export function reportFault(
  fault: string,
  figures: { executions: number; recoveryMs?: number; note?: string },
): void {
  const file = process.env.TEST_FAULT_REPORT;
  if (file) {
    appendFileSync(file, `${JSON.stringify({ fault, ...figures })}\n`);
  }
}

/**
 * Submits short flows, `perSecond` of them, until stopped. Only what was answered 202 counts; whatever else the API
 * says (503, no connection) is counted as refused.
 */
export class Load {
  readonly accepted: string[] = [];
  refused = 0;
  private stopped = false;
  private readonly loop: Promise<void>;

  constructor(
    private readonly system: System,
    private readonly perSecond: number,
    private readonly message = delayFlow(30),
  ) {
    this.loop = this.run();
  }

  async stop(): Promise<string[]> {
    this.stopped = true;
    await this.loop;
    return this.accepted;
  }

  private async run(): Promise<void> {
    const begin = performance.now();
    const pending = new Set<Promise<void>>();
    for (let sent = 0; !this.stopped; sent++) {
      const submit: Promise<void> = this.submitOne(sent).finally(() => pending.delete(submit));
      pending.add(submit);
      const waitMs = begin + (1_000 * (sent + 1)) / this.perSecond - performance.now();
      await new Promise((next) => setTimeout(next, Math.max(0, waitMs)));
    }
    await Promise.all(pending);
  }

  private async submitOne(sent: number): Promise<void> {
    const apis = this.system.apis;
    try {
      const { status, body } = await apis[sent % apis.length]!.execute(this.message);
      if (status === 202) {
        this.accepted.push(body.executionId);
        return;
      }
    } catch {
      // No answer: it may or may not have been accepted, and nobody was promised anything.
    }
    this.refused++;
  }
}
