/**
 * Does all of it, whatever fails, a few at a time. What failed is said afterwards, in one error, the same thing once.
 * @param atOnce most tasks under way
 */
export async function allDone(tasks: readonly (() => Promise<unknown>)[], atOnce = 4): Promise<void> {
  const failures = new Set<string>();
  const waiting = tasks.values();
  const lane = async (): Promise<void> => {
    for (const task of waiting) {
      try {
        await task();
      } catch (error) {
        failures.add((error as Error).message);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, tasks.length) }, lane));
  if (failures.size > 0) throw new Error([...failures].join('; '));
}
