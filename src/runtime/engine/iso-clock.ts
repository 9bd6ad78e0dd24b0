let lastMs = Number.NaN;
let lastText = '';

/** The time in ISO 8601. Many ask within a millisecond, and writing the text takes longer than a look at the clock. */
export function isoNow(): string {
  const nowMs = Date.now();
  if (nowMs !== lastMs) {
    lastMs = nowMs;
    lastText = new Date(nowMs).toISOString();
  }
  return lastText;
}
