import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CHECKOUT } from '../scripts/checkout.mjs';

/**
 * The version of an installed package: of the peers, or else of the product's own.
 *
 * @param {string} name
 * @param {string} [folder] default `bench/node_modules`
 */
export function packageVersion(name, folder = join(CHECKOUT, 'bench', 'node_modules')) {
  return JSON.parse(readFileSync(join(folder, name, 'package.json'), 'utf8')).version;
}

/** @param {string} name */
export const ownPackageVersion = (name) => packageVersion(name, join(CHECKOUT, 'node_modules'));
