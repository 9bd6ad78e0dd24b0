import { chownSync, closeSync, mkdirSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../scripts/processes.mjs';

const BLOCK = Buffer.alloc(65_536);

/** A small file system of its own (tmpfs), which a test fills and frees. Needs root, or sudo without a password. */
export class TinyDisk {
  private readonly ballast: string;

  private constructor(
    readonly dir: string,
    private readonly sudo: string[],
  ) {
    this.ballast = join(dir, 'ballast');
  }

  /** @param dir is made, and owned by whoever owns `like`: a file, or a process under /proc */
  static async mount(dir: string, megabytes: number, like: string): Promise<TinyDisk> {
    mkdirSync(dir, { recursive: true });
    const sudo = process.getuid?.() === 0 ? [] : ['sudo', '-n'];
    const { uid, gid } = statSync(like);
    const options = `size=${megabytes}m,uid=${uid},gid=${gid},mode=0777`;
    await succeed([...sudo, 'mount', '-t', 'tmpfs', '-o', options, 'tmpfs', dir]);
    return new TinyDisk(dir, sudo);
  }

  /** A folder on it, for the same owner. */
  folder(name: string): string {
    const path = join(this.dir, name);
    mkdirSync(path);
    const { uid, gid } = statSync(this.dir);
    chownSync(path, uid, gid);
    return path;
  }

  /** Takes every byte that is left. */
  fill(): void {
    const file = openSync(this.ballast, 'w');
    try {
      for (const block of [BLOCK, BLOCK.subarray(0, 1)]) {
        for (let full = false; !full;) {
          full = !hasWritten(file, block);
        }
      }
    } finally {
      closeSync(file);
    }
  }

  free(): void {
    rmSync(this.ballast, { force: true });
  }

  async unmount(): Promise<void> {
    await succeed([...this.sudo, 'umount', this.dir]);
    rmSync(this.dir, { recursive: true });
  }
}

function hasWritten(file: number, block: Buffer): boolean {
  try {
    return writeSync(file, block) > 0;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOSPC') {
      return false;
    }
    throw error;
  }
}

async function succeed([command, ...args]: string[]): Promise<void> {
  const { code, stderr } = await run(command!, args);
  if (code !== 0) {
    throw new Error(
      `expected \`${[command, ...args].join(' ')}\` to succeed, it ended with ${code}: ${stderr.trim()}. ` +
        'A full disk is tested on a small file system: run the tests as root, or with sudo that asks no password.',
    );
  }
}
