import { type CompiledQuery, type RawBuilder, sql } from 'kysely';
import { GivenPlace, type Piece, Place, type Row, type RowShape, type Taken } from './batch-rows.js';
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

/** The statements of one batch: all of them take effect, or none. */
export interface BatchQuery<R> extends CompiledQuery<R> {
  /** Those after the first, for the rows that did not go into it. */
  readonly rest: readonly CompiledQuery<R>[];
  /** Of one that answers `Taken`: how many rows they are given. */
  readonly count: number | null;
}

/** What a statement answers: nothing, `Taken`, or columns of each execution that it took. */
type Form = 'run' | 'take' | RawBuilder<unknown>;

/**
 * One conditional statement for a whole batch, or a few. To make its text costs this process more than all else it does for one
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
  async run(items: readonly Item[], values: Values = {}, trx?: Executor): Promise<void> {
    if (items.length === 0) return;
    const runIn = (db: Executor): Promise<unknown> => db.executeQuery(this.query(db, 'run', items, values));
    await (trx === undefined ? this.session.run(runIn) : runIn(trx));
  }

  /** @returns the ids of those it took; null = of all */
  async take(items: readonly Item[], values: Values = {}, trx?: Executor): Promise<Set<string> | null> {
    if (items.length === 0) return null;
    const takeIn = async (db: Executor): Promise<Set<string> | null> => {
      const query = this.query(db, 'take', items, values);
      const [answer] = (await db.executeQuery<Taken>(query)).rows;
      return answer?.taken === query.count ? null : new Set(answer?.ids);
    };
    return trx === undefined ? this.session.run(takeIn) : takeIn(trx);
  }

  /** @returns these columns of each execution it took */
  async read<T>(items: readonly Item[], returning: RawBuilder<T>, values: Values = {}): Promise<T[]> {
    if (items.length === 0) return [];
    return this.session.run(
      async (db) => (await db.executeQuery<T>(this.query(db, returning, items, values))).rows,
    );
  }

  private query<R>(db: Executor, form: Form, items: readonly Item[], values: Values): BatchQuery<R> {
    const { batch, isShared } = this.session.dialect;
    const rows = inOrder(items, isShared).map(this.toRow);
    const given: Values = { ...values, now: Date.now(), count: rows.length };
    const [first, ...rest] = batch.piecesOf(rows).map((piece) => this.queryOf<R>(db, form, piece, given));
    return { ...first!, rest, count: form === 'take' ? rows.length : null };
  }

  private queryOf<R>(db: Executor, form: Form, { rows, room }: Piece, given: Values): CompiledQuery<R> {
    const { batch } = this.session.dialect;
    const compiled = this.compile(db, form, room);
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
