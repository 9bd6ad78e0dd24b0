/** The types of the columns that batches are made of. */
export type ColumnType = 'text' | 'integer' | 'bigint' | 'double precision';

type Value = string | number | null;

/** PostgreSQL's own types have the same number in each database (its catalog `pg_type`). */
const OIDS: Record<ColumnType, number> = { text: 25, integer: 23, bigint: 20, 'double precision': 701 };
const NUMBER_BYTES = { integer: 4, bigint: 8, 'double precision': 8 };
/** Dimensions, whether there are nulls, type, length, first index. */
const HEADER_BYTES = 20;
const LENGTH_BYTES = 4;

/**
 * A column of these rows as an array in the binary form of PostgreSQL's protocol (its functions `array_recv`,
 * `textrecv`, `int4recv`, `int8recv`, `float8recv`): each value after its length in bytes, -1 for null.
 * @param rows integers are whole numbers
 */
export function binaryArray(
  type: ColumnType,
  rows: readonly Readonly<Record<string, Value>>[],
  column: string,
): Buffer {
  let sizeBytes = HEADER_BYTES;
  for (const row of rows) sizeBytes += LENGTH_BYTES + sizeOf(type, row[column] ?? null);
  const array = Buffer.allocUnsafe(sizeBytes);
  let at = HEADER_BYTES;
  let hasNulls = false;
  for (const row of rows) {
    const value = row[column] ?? null;
    hasNulls ||= value === null;
    const written = value === null ? -1 : write(array, type, value, at + LENGTH_BYTES);
    array.writeInt32BE(written, at);
    at += LENGTH_BYTES + Math.max(0, written);
  }
  [1, hasNulls ? 1 : 0, OIDS[type], rows.length, 1].forEach((part, index) =>
    array.writeInt32BE(part, index * 4),
  );
  return array;
}

function sizeOf(type: ColumnType, value: Value): number {
  if (value === null) return 0;
  return type === 'text' ? Buffer.byteLength(String(value)) : NUMBER_BYTES[type];
}

/** @returns how many bytes it took */
function write(array: Buffer, type: ColumnType, value: string | number, at: number): number {
  switch (type) {
    case 'text':
      return array.write(String(value), at);
    case 'integer':
      return array.writeInt32BE(Number(value), at) - at;
    case 'double precision':
      return array.writeDoubleBE(Number(value), at) - at;
    case 'bigint':
      // Without a BigInt, which would cost more than all else here: times and counts are exact as numbers.
      array.writeInt32BE(Math.floor(Number(value) / 2 ** 32), at);
      return array.writeUInt32BE(Number(value) >>> 0, at + 4) - at;
  }
}
