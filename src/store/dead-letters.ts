import { type DeadLetter, InvalidCursorError, type NewDeadLetter } from './execution-store.js';
import { sql } from 'kysely';
import { rowShape } from './batch-rows.js';
import type { StoreSession } from './store-session.js';

const LETTER_ROW = rowShape({ letter: 'text' });

interface LetterRow {
  id: number;
  at: number;
  letter: string;
}

/** Messages that could not be understood or delivered, kept until they are deleted or too old. */
export class DeadLetters {
  constructor(private readonly session: StoreSession) {}

  async add(letters: NewDeadLetter[]): Promise<void> {
    if (letters.length === 0) return;
    const { dialect } = this.session;
    const rows = letters.map((letter) => ({ letter: JSON.stringify(letter) }));
    await this.session.rows(sql`
      with clock as materialized (select ${dialect.now()} as now), given as (${dialect.rows(LETTER_ROW, rows)})
      insert into dead_letters (at, letter) select now, letter from given cross join clock`);
  }

  async list(limit: number, cursor?: string): Promise<{ items: DeadLetter[]; nextCursor: string | null }> {
    const before = cursor === undefined ? Number.MAX_SAFE_INTEGER : readId(cursor);
    if (before === null) {
      throw new InvalidCursorError(
        `the cursor cannot be read: expected the nextCursor of the page before, got ${JSON.stringify(cursor?.slice(0, 80))}`,
      );
    }
    const found = await this.session.rows(sql<LetterRow>`
      select id, at, letter from dead_letters where id < ${before} order by id desc limit ${limit + 1}`);
    const items = found.slice(0, limit).map(toLetter);
    return { items, nextCursor: found.length > limit ? (items.at(-1)?.id ?? null) : null };
  }

  async get(id: string): Promise<DeadLetter | null> {
    const known = readId(id);
    if (known === null) return null;
    const [row] = await this.session.rows(
      sql<LetterRow>`select id, at, letter from dead_letters where id = ${known}`,
    );
    return row === undefined ? null : toLetter(row);
  }

  async delete(id: string): Promise<boolean> {
    const known = readId(id);
    if (known === null) return false;
    const gone = await this.session.rows(sql`delete from dead_letters where id = ${known} returning id`);
    return gone.length > 0;
  }
}

function toLetter({ id, at, letter }: LetterRow): DeadLetter {
  return { ...(JSON.parse(letter) as NewDeadLetter), id: String(id), at };
}

function readId(text: string): number | null {
  return /^[1-9]\d{0,14}$/.test(text) ? Number(text) : null;
}
