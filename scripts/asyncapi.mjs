/** Writes docs/asyncapi.yaml from the wire contract in dist/: `npm run build`, then `npm run docs:asyncapi`. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { stringify } from 'yaml';
import { asyncApiDocument } from '../dist/queue/contracts/asyncapi.js';

const target = fileURLToPath(new URL('../docs/asyncapi.yaml', import.meta.url));
const header = '# Written by `npm run docs:asyncapi` from src/queue/contracts; do not edit by hand.\n';
const yaml = header + stringify(asyncApiDocument(), { aliasDuplicateObjects: false });

writeFileSync(target, await format(yaml, { ...(await resolveConfig(target)), filepath: target }));
console.log(`Wrote ${target}`);
