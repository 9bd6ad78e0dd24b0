export type WatermarkState = 'normal' | 'high';

/** Above `high` it turns high and stays so until the depth falls below `low`: a queue that hovers does not flap. */
export function nextWatermark(
  state: WatermarkState,
  depth: number,
  low: number,
  high: number,
): WatermarkState {
  if (depth > high) {
    return 'high';
  }
  return depth < low ? 'normal' : state;
}
