import { describe, expect, it } from '@jest/globals';
import { binaryArray, type ColumnType } from '../../../src/store/postgres-arrays.js';

interface Read {
  header: number[];
  values: (Buffer | null)[];
}

function read(type: ColumnType, values: (string | number | null)[]): Read {
  const array = binaryArray(
    type,
    values.map((value) => ({ value })),
    'value',
  );
  const header = Array.from({ length: 5 }, (_, index) => array.readInt32BE(index * 4));
  const found: (Buffer | null)[] = [];
  let at = 20;
  while (at < array.length) {
    const length = array.readInt32BE(at);
    at += 4;
    found.push(length < 0 ? null : array.subarray(at, at + length));
    at += Math.max(0, length);
  }
  return { header, values: found };
}

describe('a column as an array for PostgreSQL', () => {
  it('says its dimensions, whether there are nulls, its type, its length and its first index', () => {
    expect(read('text', ['a', 'b']).header).toEqual([1, 0, 25, 2, 1]);
    expect(read('integer', [null]).header).toEqual([1, 1, 23, 1, 1]);
    expect(read('bigint', [1]).header).toEqual([1, 0, 20, 1, 1]);
    expect(read('double precision', [1]).header).toEqual([1, 0, 701, 1, 1]);
  });

  it('holds texts as UTF-8, the empty one and null apart', () => {
    const texts = ['plain', '', null, '{"quoted":"\\" ü 漢 🚗"}'];
    expect(read('text', texts).values.map((value) => value?.toString() ?? null)).toEqual(texts);
  });

  it('holds numbers of each size, negative ones too', () => {
    const integers = [0, -1, 2 ** 31 - 1, -(2 ** 31), null];
    expect(read('integer', integers).values.map((value) => value?.readInt32BE() ?? null)).toEqual(integers);
    const large = [0, -1, 2 ** 32, -(2 ** 32) - 1, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER];
    expect(read('bigint', large).values.map((value) => Number(value?.readBigInt64BE()))).toEqual(large);
    const fractions = [0.3, -1e300, 5e-324];
    expect(read('double precision', fractions).values.map((value) => value?.readDoubleBE())).toEqual(
      fractions,
    );
  });
});
