/**
 * Memory in pages of 2 MiB (Linux), which PostgreSQL takes for its cache by itself where there are any. In pages of
 * 4 KiB each of its sessions maps the cache for itself, page by page as it comes along; PostgreSQL's makers recommend
 * huge ones for a large cache.
 */
import { readFileSync, writeFileSync } from 'node:fs';

const RESERVED = '/proc/sys/vm/nr_hugepages';

/**
 * Asks the machine for so much more of it. It takes root, and memory in one piece: where it cannot be had, nothing
 * changes.
 *
 * @param {number} mib
 * @returns {{ inUse: () => boolean, giveBack: () => void }} `inUse`: whether somebody has taken any of it
 */
export function reserveHugePages(mib) {
  const { sizeKib, total } = hugePages();
  const wanted = total + Math.ceil((mib * 1024) / sizeKib);
  const set = (/** @type {number} */ count) => {
    try {
      writeFileSync(RESERVED, String(count));
    } catch {
      // Not root, or no Linux: then there are none.
    }
  };
  if (sizeKib > 0) set(wanted);
  const { free } = hugePages();
  return {
    inUse: () => hugePages().free < free,
    giveBack: () => set(total),
  };
}

function hugePages() {
  const text = readFileSync('/proc/meminfo', 'utf8');
  const read = (/** @type {string} */ name) =>
    Number(new RegExp(`^${name}: +(\\d+)`, 'm').exec(text)?.[1] ?? 0);
  return { sizeKib: read('Hugepagesize'), total: read('HugePages_Total'), free: read('HugePages_Free') };
}
