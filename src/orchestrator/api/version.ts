import { readFileSync } from 'node:fs';

const manifest = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');

/** The version of this product, from package.json; the same depth in `src` and in `dist`. */
export const VERSION = (JSON.parse(manifest) as { version: string }).version;
