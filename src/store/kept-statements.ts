import type { PoolClient } from 'pg';

/** What a statement begins with that is to be kept by each connection; to PostgreSQL it is a comment. */
export const KEPT = '/* kept */ ';

/**
 * A plan is right for the table as it was when the plan was made: one for a few rows walks through all of them, and goes
 * on doing so while the table grows, until PostgreSQL analyzes it (a minute later, at best). So it is made again after
 * so many runs, over which its cost is spread thinly enough.
 */
const RUNS_A_PLAN = 100;

/**
 * Statements that run over and over are prepared once a connection: to parse and plan one costs the server as much as
 * to write some twenty rows.
 */
export class KeptStatements {
  private readonly names = new Map<string, string>();
  private readonly runs = new WeakMap<PoolClient, number>();

  /** @param values must not be changed afterwards */
  async query(client: PoolClient, text: string, values: unknown[]): Promise<unknown> {
    if (!text.startsWith(KEPT)) return client.query(text, values);
    const runs = (this.runs.get(client) ?? 0) + 1;
    this.runs.set(client, runs);
    if (runs % RUNS_A_PLAN === 0) await client.query('discard plans');
    return client.query({ name: this.nameOf(text), text, values });
  }

  /** Texts are made once for a process, and few. */
  private nameOf(text: string): string {
    const name = this.names.get(text) ?? `kept-${this.names.size}`;
    this.names.set(text, name);
    return name;
  }
}
