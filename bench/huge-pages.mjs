/**
 * Memory in pages of 2 MiB (Linux), which PostgreSQL takes for its cache by itself where there are any. In pages of
 * 4 KiB each of its sessions maps the cache for itself, page by page as it comes along; PostgreSQL's makers recommend
 * huge ones for a large cache.
 */
import { readFileSync, writeFileSync } from 'node:fs';

const RESERVED = '/proc/sys/vm/nr_hugepages';

/**
 * Asks the machine for as many as are missing. It takes root, and memory in pieces of that size: if not all can be had,
 * those that came go back, as PostgreSQL takes all that it needs or none.
 *
 * @param {number} mib
 * @returns {{ inUse: () => boolean, giveBack: () => void }} `inUse`: whether somebody has taken any of them
 */
export function reserveHugePages(mib) {
  const before = hugePages();
  const missing = Math.max(0, Math.ceil((mib * 1024) / before.sizeKib) - before.free);
  change(missing);
  const after = hugePages();
  const added = after.total - before.total;
  if (added < missing) {
    change(-added);
    return { inUse: () => false, giveBack: () => {} };
  }
  return {
    inUse: () => hugePages().free < after.free,
    giveBack: () => change(-added),
  };
}

/** @param {number} by how many more, or fewer; others may have changed their number since ours came */
function change(by) {
  try {
    writeFileSync(RESERVED, String(Math.max(0, hugePages().total + by)));
  } catch {
    // Not root, or a machine without them.
  }
}

/** `free`: those that nobody has, nor was promised. */
function hugePages() {
  const text = readFileSync('/proc/meminfo', 'utf8');
  const read = (/** @type {string} */ name) =>
    Number(new RegExp(`^${name}: +(\\d+)`, 'm').exec(text)?.[1] ?? 0);
  const promised = read('HugePages_Rsvd');
  return {
    sizeKib: read('Hugepagesize') || 2_048,
    total: read('HugePages_Total'),
    free: read('HugePages_Free') - promised,
  };
}
