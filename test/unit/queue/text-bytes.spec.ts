import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { fitsInto } from '../../../src/queue/text-bytes.js';

describe('whether a text fits into so many bytes', () => {
  it('is told as if its bytes were counted', () => {
    const text = fc.string({ unit: 'binary', maxLength: 12 });
    const check = fc.property(text, fc.nat(40), (given, limitBytes) => {
      expect(fitsInto(limitBytes, given)).toBe(Buffer.byteLength(given) <= limitBytes);
    });
    fc.assert(check, { numRuns: 1_000 });
  });

  it('goes by bytes to the last one', () => {
    expect(fitsInto(6, '漢字')).toBe(true);
    expect(fitsInto(5, '漢字')).toBe(false);
  });
});
