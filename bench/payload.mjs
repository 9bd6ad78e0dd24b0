/** What every contestant carries: a JSON object of 512 bytes, and gets back as the result. */

const PAYLOAD_BYTES = 512;
const FRAME_BYTES = JSON.stringify({ seq: 0, data: '' }).length - 1;

/**
 * @param {number} seq
 * @returns {{ seq: number, data: string }} 512 bytes as JSON
 */
export function payload(seq) {
  return { seq, data: 'x'.repeat(PAYLOAD_BYTES - FRAME_BYTES - String(seq).length) };
}

/**
 * @param {number} count
 * @param {number} [size] default 1,000 a batch
 * @returns {{ seq: number, data: string }[][]}
 */
export function payloadBatches(count, size = 1_000) {
  const batches = [];
  for (let from = 0; from < count; from += size) {
    batches.push(Array.from({ length: Math.min(size, count - from) }, (_, index) => payload(from + index)));
  }
  return batches;
}
