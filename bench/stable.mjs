/** Contestants that stay up between measures: starting them is most of what a quick run would do. */

/** @typedef {import('./contestants/contestant.mjs').ContestantKind} ContestantKind */

export function createStable() {
  /** @type {Map<string, ReturnType<ContestantKind['start']>>} */
  const running = new Map();
  return {
    /**
     * The same, started once for the whole run, and stopped at its end.
     *
     * @param {ContestantKind} kind
     * @returns {ContestantKind}
     */
    shared: (kind) => ({
      ...kind,
      async start(surroundings) {
        const starting = running.get(kind.name) ?? kind.start(surroundings);
        running.set(kind.name, starting);
        return { ...(await starting), stop: async () => {} };
      },
    }),
    async stop() {
      const contestants = await Promise.allSettled(running.values());
      await Promise.all(
        contestants.map((contestant) => contestant.status === 'fulfilled' && contestant.value.stop()),
      );
    },
  };
}
