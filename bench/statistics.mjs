/** @param {number[]} values */
export function median(values) {
  return quantile(values, 0.5);
}

/**
 * With linear interpolation between the two nearest values.
 *
 * @param {number[]} values at least one
 * @param {number} share 0 to 1
 */
export function quantile(values, share) {
  const sorted = values.toSorted((a, b) => a - b);
  const place = (sorted.length - 1) * share;
  const below = sorted[Math.floor(place)];
  const above = sorted[Math.ceil(place)];
  if (below === undefined || above === undefined)
    throw new RangeError('expected at least one value, got none');
  return below + (above - below) * (place - Math.floor(place));
}
