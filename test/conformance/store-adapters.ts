import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import type {
  Assignment,
  ExecutionFilter,
  ExecutionRecord,
  ExecutionStore,
  FinishedAttempt,
  NewExecution,
  Requeue,
} from '../../src/store/execution-store.js';
import { postgresStore, sqliteStore } from '../../src/store/kysely-execution-store.js';

/** What the suite needs of an adapter: stores on an empty database, and a place to throw it away. */
export interface StoreAdapter {
  name: string;
  /** Prepares the place; called once. */
  begin(): Promise<void>;
  /** A store on an empty database, not opened. */
  create(): Promise<ExecutionStore>;
  end(): Promise<void>;
}

export function sqliteAdapter(): StoreAdapter {
  let folder = '';
  return {
    name: 'SQLite',
    begin: async () => {
      folder = await mkdtemp(join(tmpdir(), 'store-'));
    },
    create: () => Promise.resolve(sqliteStore(join(folder, randomUUID(), 'executions.db'))),
    end: () => rm(folder, { recursive: true, force: true }),
  };
}

export function postgresAdapter(): StoreAdapter {
  let database: TestDatabase | null = null;
  return {
    name: 'PostgreSQL',
    begin: async () => {
      database = await TestDatabase.create();
    },
    create: async () => {
      await database!.clear();
      return database!.store();
    },
    end: async () => database?.drop(),
  };
}

/** A database of one test file on the server that TEST_DATABASE_URL names. */
export class TestDatabase {
  private constructor(
    private readonly name: string,
    readonly url: string,
  ) {}

  static async create(): Promise<TestDatabase> {
    const name = `store_${randomUUID().replaceAll('-', '')}`;
    await onServer(serverUrl(), `create database ${name}`);
    const url = new URL(serverUrl());
    url.pathname = `/${name}`;
    return new TestDatabase(name, url.href);
  }

  store(poolSize = 4): ExecutionStore {
    return postgresStore({ url: this.url, poolSize, onWarning: () => undefined });
  }

  /** Empties the schema; a store that opens afterwards makes it anew. */
  clear(): Promise<unknown[]> {
    return this.query('drop schema public cascade; create schema public');
  }

  query(text: string): Promise<unknown[]> {
    return onServer(this.url, text);
  }

  async drop(): Promise<void> {
    await onServer(serverUrl(), `drop database if exists ${this.name} with (force)`);
  }
}

function serverUrl(): string {
  const url = process.env.TEST_DATABASE_URL;
  if (url === undefined || url === '') {
    throw new Error(
      'TEST_DATABASE_URL is not set: expected a superuser URL of a PostgreSQL; `npm test` provides one',
    );
  }
  return url;
}

async function onServer(url: string, text: string): Promise<unknown[]> {
  const client = new Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(text)).rows;
  } finally {
    await client.end();
  }
}

/** From which indexes a list is read, whatever the statistics say. */
export const INDEXES_OF_LISTS: { filter: ExecutionFilter; indexes: string[] }[] = [
  { filter: {}, indexes: ['by_state'] },
  { filter: { states: ['queued', 'running'] }, indexes: ['by_state'] },
  { filter: { flowId: 'flow' }, indexes: ['by_flow', 'by_state'] },
  { filter: { flowId: 'unknown', states: ['queued', 'completed'] }, indexes: ['by_flow'] },
  { filter: { flowId: 'unknown', states: ['assigned', 'running'] }, indexes: ['by_state'] },
  { filter: { flowId: 'unknown', states: ['retrying'], createdAfter: 1 }, indexes: ['by_flow'] },
  { filter: { workerId: 'worker-1' }, indexes: ['by_state', 'by_worker'] },
  { filter: { workerId: 'unknown', states: ['failed'] }, indexes: ['by_worker'] },
  { filter: { workerId: 'unknown', states: ['running'], priority: 'high' }, indexes: ['by_state'] },
];

/** Which of them a plan of either database names. */
export function indexesIn(plan: string): string[] {
  const names = plan.matchAll(/\bexecutions_(by_\w+)/g);
  return [...new Set(Array.from(names, ([, name]) => name!))].toSorted();
}

let made = 0;

/** An execution to accept; what a test does not care about has a default. */
export function newExecution(given: Partial<NewExecution> = {}): NewExecution {
  made += 1;
  return {
    executionId: `execution-${String(made).padStart(6, '0')}`,
    flowId: 'flow',
    priority: 'normal',
    requiredTypes: 'data-filter,http-request',
    request: '{"flowData":{"name":"f"},"inputs":{}}',
    requestHash: 'a'.repeat(64),
    labels: {},
    timeoutMs: 30_000,
    maxAttempts: 3,
    backoff: null,
    delayMs: 0,
    expiresAt: null,
    workerId: null,
    rescueAfterMs: 60_000,
    ...given,
  };
}

/** Accepts executions that an idle worker holds at once. */
export async function heldExecutions(
  store: ExecutionStore,
  count: number,
  given: Partial<NewExecution> = {},
): Promise<Assignment[]> {
  const items = Array.from({ length: count }, () => newExecution({ workerId: 'worker-1', ...given }));
  await store.accept(items);
  return items.map(({ executionId, workerId }) => ({ executionId, attempt: 1, workerId: workerId! }));
}

/** Accepts executions whose tasks are in the broker's queues. */
export async function queuedExecutions(
  store: ExecutionStore,
  count: number,
  given: Partial<NewExecution> = {},
): Promise<{ executionId: string; attempt: number }[]> {
  const items = Array.from({ length: count }, () => newExecution(given));
  await store.accept(items);
  const tasks = items.map(({ executionId }) => ({ executionId, attempt: 1 }));
  await store.markQueued(tasks);
  return tasks;
}

export function finished(task: Assignment, given: Partial<FinishedAttempt> = {}): FinishedAttempt {
  return { ...task, state: 'completed', result: '{}', error: null, timeline: null, durationMs: 1, ...given };
}

export function ended(task: Assignment, given: Partial<Requeue> = {}): Requeue {
  return { ...task, countAttempt: true, error: null, durationMs: null, outcome: 'failed', ...given };
}

export async function recordOf(store: ExecutionStore, executionId: string): Promise<ExecutionRecord> {
  const record = await store.get(executionId);
  if (record === null) throw new Error(`there is no execution ${executionId}`);
  return record;
}

/** Asks again until the answer passes, for what the database's clock decides. */
export async function until<T>(ask: () => Promise<T>, passes: (answer: T) => boolean): Promise<T> {
  for (const deadline = Date.now() + 10_000; ;) {
    const answer = await ask();
    if (passes(answer)) return answer;
    if (Date.now() > deadline) throw new Error(`still ${JSON.stringify(answer)} after 10 s`);
    await delay(5);
  }
}
