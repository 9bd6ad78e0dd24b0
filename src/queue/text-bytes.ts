/**
 * Whether a text has at most so many bytes as UTF-8. One of so many UTF-16 units has three times as many at most, so a
 * short one need not be looked at.
 */
export function fitsInto(limitBytes: number, text: string): boolean {
  return (
    text.length * 3 <= limitBytes || (text.length <= limitBytes && Buffer.byteLength(text) <= limitBytes)
  );
}
