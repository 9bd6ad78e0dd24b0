import { type CompiledQuery, type RawBuilder, sql } from 'kysely';
import { GivenPlace, Place, type Row, type RowShape, type Taken } from './batch-rows.js';
import { inOrder, type Keyed } from './rows.js';
import type { Executor, StoreSession } from './store-session.js';

/** What a statement does, in terms of `given` (the batch) and `clock.now`. */
export interface BatchWrite {
  /** CTEs besides those two. */
  with: RawBuilder<unknown>[];
  write: RawBuilder<unknown>;
}

/** What is given at the other places of a statement. */
export type Values = Record<string, string | number>;

/** A query that answers `Taken`. */
export interface TakingQuery extends CompiledQuery<Taken> {
  /** How many rows it is given. */
  readonly count: number;
}

/** What a statement answers: nothing, `Taken`, or columns of each execution that it took. */
type Form = 'run' | 'take' | RawBuilder<unknown>;

/**
 * One conditional statement for a whole batch. To make its text costs this process more than all else it does for one
 * row, so that is done once for each size and form.
 */
export class BatchStatement<Item extends Keyed> {
  private readonly compiled = new Map<Form, Map<number, CompiledQuery>>();

  constructor(
    private readonly session: StoreSession,
    private readonly shape: RowShape,
    private readonly toRow: (item: Item) => Row,
    private readonly write: BatchWrite,
  ) {}

  /** For one who need not know what it took. */
  async run(items: readonly Item[], values: Values = {}): Promise<void> {
    if (items.length === 0) return;
    await this.session.run((db) => db.executeQuery(this.query(db, 'run', this.inOrder(items), values)));
  }

  /** @returns the ids of those it took; null = of all */
  async take(items: readonly Item[], values: Values = {}, trx?: Executor): Promise<Set<string> | null> {
    if (items.length === 0) return null;
    const given = this.inOrder(items);
    const takeIn = async (db: Executor): Promise<Set<string> | null> => {
      const query: TakingQuery = { ...this.query(db, 'take', given, values), count: given.length };
      const [answer] = (await db.executeQuery<Taken>(query)).rows;
      return answer?.taken === given.length ? null : new Set(answer?.ids);
    };
    return trx === undefined ? this.session.run(takeIn) : takeIn(trx);
  }

  /** @returns these columns of each execution it took */
  async read<T>(items: readonly Item[], returning: RawBuilder<T>, values: Values = {}): Promise<T[]> {
    if (items.length === 0) return [];
    const given = this.inOrder(items);
    return this.session.run(
      async (db) => (await db.executeQuery(this.query<T>(db, returning, given, values))).rows,
    );
  }

  private inOrder(items: readonly Item[]): readonly Item[] {
    return inOrder(items, this.session.dialect.isShared);
  }

  private query<R>(db: Executor, form: Form, items: readonly Item[], values: Values): CompiledQuery<R> {
    const { batch } = this.session.dialect;
    const rows = items.map(this.toRow);
    const room = batch.roomFor(rows);
    const compiled = this.compile(db, form, room);
    const given: Values = { ...values, now: Date.now(), count: items.length };
    const parameters: unknown[] = [];
    for (const parameter of compiled.parameters) {
      if (parameter instanceof GivenPlace) batch.give(parameters, parameter, this.shape, rows, room);
      else parameters.push(parameter instanceof Place ? given[parameter.name] : parameter);
    }
    return { ...compiled, parameters } as CompiledQuery<R>;
  }

  private compile(db: Executor, form: Form, room: number): CompiledQuery {
    const sizes = this.compiled.get(form) ?? new Map<number, CompiledQuery>();
    this.compiled.set(form, sizes);
    const compiled = sizes.get(room) ?? this.textOf(form, room).compile(db);
    sizes.set(room, compiled);
    return compiled;
  }

  private textOf(form: Form, room: number): RawBuilder<unknown> {
    const { batch } = this.session.dialect;
    const { with: others, write } = this.write;
    const clock = sql`clock as materialized (select ${batch.now} as now)`;
    const ctes = sql.join([clock, batch.given(this.shape, room), ...others]);
    if (form === 'take') return sql`${batch.mark}${batch.taking(ctes, write, room)}`;
    const returning = form === 'run' ? sql`` : sql`returning ${form}`;
    return sql`${batch.mark}with ${ctes} ${write} ${returning}`;
  }
}
