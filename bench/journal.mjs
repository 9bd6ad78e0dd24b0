/** What a run notes beside its figures: the versions that took part, and the peers that could not. */

/** A peer's program that is neither there nor can be installed. The run goes on without it, and says so. */
export class PeerMissingError extends Error {}

/**
 * @typedef {ReturnType<typeof createJournal>} Journal
 *
 * @param {(message: string) => void} log
 */
export function createJournal(log) {
  /** @type {Map<string, string>} */
  const versions = new Map([['Node', process.version]]);
  /** @type {Map<string, string>} */
  const missing = new Map();
  return {
    /** @param {Record<string, string>} used */
    uses(used) {
      for (const [name, version] of Object.entries(used)) versions.set(name, version);
    },
    /**
     * @param {string} name
     * @param {string} reason
     */
    lacks(name, reason) {
      if (!missing.has(name)) log(`!!! NOT COMPARED with ${name}: ${reason}`);
      missing.set(name, reason);
    },
    versions: () => Object.fromEntries(versions),
    missing: () => Object.fromEntries(missing),
  };
}
