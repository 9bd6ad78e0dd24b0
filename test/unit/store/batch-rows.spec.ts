import { describe, expect, it } from '@jest/globals';
import { postgresBatch, sqliteBatch } from '../../../src/store/batch-rows.js';

const rows = (count: number, text = ''): { execution_id: string; result: string }[] =>
  Array.from({ length: count }, (_, index) => ({ execution_id: `id-${index}`, result: text }));

const roomsOf = (given: ReturnType<typeof rows>): number[] =>
  sqliteBatch.piecesOf(given).map(({ room }) => room);

describe('the pieces of a batch', () => {
  it('have room for the next power of two on SQLite, and for 256 rows at most', () => {
    const rooms = [1, 2, 3, 5, 64, 65, 256, 257, 600].map((count) => roomsOf(rows(count)));
    expect(rooms).toEqual([[1], [2], [4], [8], [64], [128], [256], [256, 1], [256, 256, 128]]);
  });

  it('have all rows, in order', () => {
    const all = [...rows(300), ...rows(5, 'x'.repeat(200_000))];
    expect(sqliteBatch.piecesOf(all).flatMap((piece) => piece.rows)).toEqual(all);
  });

  it('are smaller where texts are large: each other statement on SQLite would keep its last ones', () => {
    expect(roomsOf(rows(4, 'x'.repeat(100_000)))).toEqual([4]);
    expect(roomsOf(rows(4, 'x'.repeat(200_000)))).toEqual([2, 2]);
    expect(roomsOf(rows(2, 'x'.repeat(600_000)))).toEqual([Infinity, Infinity]);
  });

  it('are one on PostgreSQL, with room for a single row or for any number', () => {
    const rooms = [1, 2, 700].map((count) => postgresBatch.piecesOf(rows(count)).map(({ room }) => room));
    expect(rooms).toEqual([[1], [Infinity], [Infinity]]);
  });
});
