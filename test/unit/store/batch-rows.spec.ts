import { describe, expect, it } from '@jest/globals';
import { postgresBatch, sqliteBatch } from '../../../src/store/batch-rows.js';

const rows = (count: number, text = ''): { execution_id: string; result: string }[] =>
  Array.from({ length: count }, (_, index) => ({ execution_id: `id-${index}`, result: text }));

describe('the room of a batch', () => {
  it('is the next power of two on SQLite, and beyond 512 rows one for all', () => {
    const rooms = [1, 2, 3, 5, 64, 65, 512, 513, 5_000].map((count) => sqliteBatch.roomFor(rows(count)));
    expect(rooms).toEqual([1, 2, 4, 8, 64, 128, 512, Infinity, Infinity]);
  });

  it('is one for all where texts are large: each other statement on SQLite would keep its last ones', () => {
    expect(sqliteBatch.roomFor(rows(4, 'x'.repeat(200_000)))).toBe(4);
    expect(sqliteBatch.roomFor(rows(4, 'x'.repeat(300_000)))).toBe(Infinity);
  });

  it('is one for a single row and one for several on PostgreSQL', () => {
    expect([1, 2, 700].map((count) => postgresBatch.roomFor(rows(count)))).toEqual([1, Infinity, Infinity]);
  });
});
