import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from '@jest/globals';

const SRC = resolve('src');

interface Import {
  from: string;
  /** A path below src, or the name of a package. */
  to: string;
  isTypeOnly: boolean;
  /** Only when the line is reached. */
  isLater: boolean;
}

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts'))
  .toSorted();

function importsOf(file: string): Import[] {
  const text = readFileSync(join(SRC, file), 'utf8');
  const pattern = /^(?:import|export)\s+(type\s+)?(?:[^'";]*?\sfrom\s+)?'([^']+)';|\bimport\('([^']+)'\)/gm;
  return [...text.matchAll(pattern)].map(([, type, fixed, dynamic]) => {
    const target = (fixed ?? dynamic)!;
    const to = target.startsWith('.')
      ? relative(SRC, resolve(SRC, dirname(file), target)).replace(/\.js$/, '.ts')
      : target;
    return { from: file, to, isTypeOnly: type !== undefined, isLater: dynamic !== undefined };
  });
}

const imports = files.flatMap(importsOf);
const roomOf = (path: string): string => (path.includes('/') ? path.split('/')[0]! : '');

/** Which rooms each room may use. What is not listed is forbidden; files at the top may use everything. */
const ALLOWED: Record<string, string[]> = {
  config: [],
  messaging: ['config'],
  queue: ['messaging', 'config'],
  store: ['queue', 'config'],
  worker: ['queue', 'store', 'messaging', 'config'],
  scaling: ['worker', 'queue', 'store', 'config'],
  orchestrator: ['scaling', 'worker', 'queue', 'store', 'messaging', 'config'],
  runtime: ['queue', 'messaging', 'config'],
};

const listed = (found: Import[]): string[] => found.map(({ from, to }) => `${from} → ${to}`);

describe('the house', () => {
  it('imports amqplib and its connection manager in messaging/ alone', () => {
    const amqp = imports.filter(({ to }) => /^(amqplib|amqp-connection-manager)(\/|$)/.test(to));
    expect(amqp.length).toBeGreaterThan(0);
    expect(listed(amqp.filter(({ from }) => roomOf(from) !== 'messaging'))).toEqual([]);
  });

  it('lets imports go one way between the rooms', () => {
    const rooms = new Set(files.map(roomOf).filter((room) => room !== ''));
    expect([...rooms].toSorted()).toEqual(Object.keys(ALLOWED).toSorted());
    const wrong = imports.filter(({ from, to }) => {
      const [here, there] = [roomOf(from), roomOf(to)];
      return here !== '' && to.endsWith('.ts') && here !== there && !ALLOWED[here]!.includes(there);
    });
    expect(listed(wrong)).toEqual([]);
  });

  it('keeps the worker process and the orchestrator apart: they share the contracts', () => {
    const across = imports.filter(
      ({ from, to }) =>
        (roomOf(from) === 'runtime' && ['orchestrator', 'worker', 'store'].includes(roomOf(to))) ||
        (['orchestrator', 'worker', 'store', 'queue', 'messaging'].includes(roomOf(from)) &&
          roomOf(to) === 'runtime'),
    );
    expect(listed(across)).toEqual([]);
  });

  it('reads the environment in config/ alone', () => {
    const readers = files.filter((file) => /process\.env\b/.test(readFileSync(join(SRC, file), 'utf8')));
    expect(readers.filter((file) => roomOf(file) !== 'config')).toEqual([]);
  });

  it('starts the orchestrator without the drivers of databases and worker pools that are not asked for', () => {
    const loaded = loadedBy('main.ts');
    expect(loaded).toEqual(expect.arrayContaining(['app.module.ts', '@nestjs/core', 'kysely']));
    expect(loaded.filter((to) => ['pg', 'libsql', 'undici', 'mongodb'].includes(to))).toEqual([]);
  });

  it('has no import cycle, types included', () => {
    const graph = new Map(
      files.map((file) => [file, imports.filter(({ from, to }) => from === file && to.endsWith('.ts'))]),
    );
    expect(cycleIn(graph)).toEqual([]);
  });

  it('finds every import it judges by', () => {
    const unknown = imports.filter(({ to }) => to.endsWith('.ts') && !files.includes(to));
    expect(listed(unknown)).toEqual([]);
    expect(imports.length).toBeGreaterThan(files.length);
  });
});

/** Files and packages that are there once this file is. */
function loadedBy(file: string): string[] {
  const loaded = new Set([file]);
  for (const from of loaded) {
    const now = imports.filter((each) => each.from === from && !each.isTypeOnly && !each.isLater);
    now.forEach(({ to }) => loaded.add(to));
  }
  return [...loaded];
}

/** The files of one cycle in order, or nothing. Depth-first, with the path kept by hand. */
function cycleIn(graph: Map<string, Import[]>): string[] {
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): string[] => {
    if (path.includes(file)) {
      return [...path.slice(path.indexOf(file)), file];
    }
    if (done.has(file)) {
      return [];
    }
    path.push(file);
    for (const { to } of graph.get(file) ?? []) {
      const cycle = visit(to);
      if (cycle.length > 0) {
        return cycle;
      }
    }
    path.pop();
    done.add(file);
    return [];
  };
  for (const file of graph.keys()) {
    const cycle = visit(file);
    if (cycle.length > 0) {
      return cycle;
    }
  }
  return [];
}
