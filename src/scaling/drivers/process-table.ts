import { execFileSync } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** Where process ids mean something: a boot of a machine and, on Linux, a pid namespace (a container) of it. */
export interface ProcessPlace {
  host: string;
  boot: string;
}

/** Which processes run. An id alone does not say which process is meant: the kernel gives it to a later one. */
export interface ProcessTable {
  place: ProcessPlace;
  /** How often it may be asked without costing much. */
  lookMs: number;
  /**
   * Of these ids, those that run, with the time of their start: the same for as long as a process lives, and another for
   * a later one of the same id. A process that has ended, and that its parent has not noticed yet, does not run.
   */
  startTimes(pids: readonly number[]): Map<number, string>;
}

export function processTable(platform: NodeJS.Platform = process.platform): ProcessTable {
  return platform === 'linux' ? linuxTable : posixTable;
}

/** Field 22 of /proc/<pid>/stat (proc_pid_stat(5)): clock ticks from the boot to the start. */
const linuxTable: ProcessTable = {
  place: {
    host: hostname(),
    boot: `${readOr('', () => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim())} ${readOr('', () => readlinkSync('/proc/self/ns/pid'))}`,
  },
  lookMs: 200,
  startTimes: (pids) => {
    const stats = pids.map(
      (pid) => [pid, readOr('', () => readFileSync(`/proc/${pid}/stat`, 'utf8'))] as const,
    );
    return new Map(stats.flatMap(([pid, stat]) => withStart(pid, startTimeOf(stat))));
  },
};

/**
 * The start time in a line of /proc/<pid>/stat; null if the process has ended (Z, X), or there is no such line. The
 * second field, the name in parentheses, may hold spaces and parentheses itself.
 */
export function startTimeOf(stat: string): string | null {
  const [state, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const hasEnded = state === 'Z' || state === 'X' || state === '';
  return hasEnded ? null : (rest[18] ?? null);
}

/** `ps` of POSIX with `lstart`, as macOS and the BSDs have it. A start is known to the second. */
const posixTable: ProcessTable = {
  place: { host: hostname(), boot: '' },
  lookMs: 1_000,
  startTimes: (pids) => {
    if (pids.length === 0) return new Map();
    const options = { encoding: 'utf8', env: { PATH: '/bin:/usr/bin', LC_ALL: 'C', TZ: 'UTC' } } as const;
    // It ends with 1 when none of them runs.
    const listed = readOr('', () =>
      execFileSync('ps', ['-o', 'pid=,stat=,lstart=', '-p', pids.join(',')], { ...options, stdio: 'pipe' }),
    );
    return new Map(listed.split('\n').flatMap(parsePsLine));
  },
};

/** ` 4711 Ss   Sat Nov 21 10:00:00 2026` */
function parsePsLine(line: string): [number, string][] {
  const [, pid, state, start] = /^\s*(\d+)\s+(\S+)\s+(.+?)\s*$/.exec(line) ?? [];
  return withStart(Number(pid), state === undefined || state.startsWith('Z') ? null : start!);
}

function withStart(pid: number, start: string | null): [number, string][] {
  return start === null ? [] : [[pid, start]];
}

function readOr(otherwise: string, read: () => string): string {
  try {
    return read();
  } catch {
    return otherwise;
  }
}
