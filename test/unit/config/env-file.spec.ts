import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { OrchestratorVariables, WorkerVariables } from '../../../src/config/config.schema.js';
import { readVariables } from '../../../src/config/read-variables.js';
import { variablesOf } from '../../../src/config/variable.js';

const local = parseEnv(readFileSync('.env', 'utf8')) as Record<string, string>;

describe('.env', () => {
  it('names only variables of the schema', () => {
    const known = [OrchestratorVariables, WorkerVariables].flatMap(variablesOf).map(({ name }) => name);
    expect(Object.keys(local).filter((name) => !known.includes(name))).toEqual([]);
  });

  it('has valid values', () => {
    expect(() => readVariables(OrchestratorVariables, local)).not.toThrow();
    expect(() => readVariables(WorkerVariables, local)).not.toThrow();
  });
});
