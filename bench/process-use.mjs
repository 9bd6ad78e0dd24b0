/** What processes cost, from /proc (Linux). */
import { readFileSync, readdirSync } from 'node:fs';

/** Ticks a second in /proc/<pid>/stat: USER_HZ, which is 100 on every Linux that Node runs on. */
const TICKS_PER_S = 100;

/**
 * CPU time of processes and everything below them, children that have ended included, in ms.
 *
 * @param {number[]} roots process ids
 */
export function cpuMs(roots) {
  const all = allProcesses();
  const below = [...roots];
  let sum = 0;
  for (let pid = below.pop(); pid !== undefined; pid = below.pop()) {
    sum += all.get(pid)?.cpuMs ?? 0;
    for (const [child, { parent }] of all) if (parent === pid) below.push(child);
  }
  return sum;
}

/** @returns {Map<number, { parent: number, cpuMs: number }>} */
function allProcesses() {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return new Map(
    pids.flatMap((pid) => {
      const text = readIfThere(`/proc/${pid}/stat`);
      // The name in parentheses may hold spaces; what follows it does not.
      const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
      const ticks = fields.slice(11, 15).reduce((sum, value) => sum + Number(value), 0);
      return text ? [[Number(pid), { parent: Number(fields[1]), cpuMs: (ticks / TICKS_PER_S) * 1_000 }]] : [];
    }),
  );
}

/**
 * Memory that a process has in RAM, in MB (10^6 bytes).
 *
 * @param {number} pid
 */
export function residentMb(pid) {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return (Number(kib) * 1024) / 1e6;
}

/** @param {string} path */
function readIfThere(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
