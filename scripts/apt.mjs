/** Installing Debian packages without letting them start a system service. */
import { spawn } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { findExecutable } from './processes.mjs';

const POLICY_FILE = '/usr/sbin/policy-rc.d';

/** Whether this process may install packages: root on Debian, Ubuntu or a relative of theirs. */
export function canInstallPackages() {
  return (
    process.getuid?.() === 0 && existsSync('/etc/debian_version') && findExecutable('apt-get') !== undefined
  );
}

/**
 * Says so, then runs `apt-get update` and `apt-get install`. No service of the packages is started.
 *
 * @param {string[]} packages
 * @param {(message: string) => void} log
 * @returns {Promise<void>}
 */
export async function installPackages(packages, log) {
  log(`Installing ${packages.join(', ')} with apt-get (this machine has none, and this process is root)`);
  await withServicesHeldBack(async () => {
    await aptGet(['update']);
    await aptGet(['install', '-y', '--no-install-recommends', ...packages]);
  });
}

/**
 * Debian's packages ask policy-rc.d before they start a service: 101 means "do not". A policy that the machine
 * already has stays as it is.
 *
 * @param {() => Promise<void>} action
 */
async function withServicesHeldBack(action) {
  if (existsSync(POLICY_FILE)) return action();
  const remove = () => rmSync(POLICY_FILE, { force: true });
  writeFileSync(POLICY_FILE, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  process.once('exit', remove);
  try {
    await action();
  } finally {
    process.removeListener('exit', remove);
    remove();
  }
}

/**
 * @param {string[]} args
 * @returns {Promise<void>}
 */
function aptGet(args) {
  return new Promise((resolve, reject) => {
    const child = spawn('apt-get', ['-q', ...args], {
      // Its progress goes to stderr, since the last line of stdout belongs to the launchers.
      stdio: ['ignore', 2, 2],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' },
    });
    child.once('error', reject);
    child.once('exit', (code) => {
      if (code === 0) return resolve();
      reject(
        new Error(
          `Expected \`apt-get ${args.join(' ')}\` to succeed; it ended with ${code}. Its messages are above; run it by hand once, then start again.`,
        ),
      );
    });
  });
}
