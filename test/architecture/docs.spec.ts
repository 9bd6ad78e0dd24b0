import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { RequestMethod, type Type } from '@nestjs/common';
import { OrchestratorVariables, WorkerVariables } from '../../src/config/config.schema.js';
import { readVariables } from '../../src/config/read-variables.js';
import { variablesOf } from '../../src/config/variable.js';
import { API_CONTROLLERS } from '../../src/orchestrator/api/api.providers.js';
import { FlowChecks } from '../../src/orchestrator/flow-checks.js';
import { toNewExecution } from '../../src/orchestrator/flow-request.js';
import { WAITING_CODES } from '../../src/orchestrator/waiting-reason.js';
import { checkFlow } from '../../src/queue/contracts/flow-check.js';
import type { FlowGraph } from '../../src/queue/contracts/flow.js';
import { builtinNodes } from '../../src/runtime/nodes/builtin-nodes.js';
import { NodeRegistry } from '../../src/runtime/nodes/node-registry.js';

const DEFAULTS = readVariables(OrchestratorVariables, {});
const FLOW_LIMITS = {
  maxNodes: DEFAULTS.flowMaxNodes,
  maxConnections: DEFAULTS.flowMaxConnections,
  maxDepth: DEFAULTS.flowMaxDepth,
};

/** What the Markdown files say of files, commands, variables, routes and flows has to be so. */

interface Page {
  file: string;
  text: string;
  /** Without fenced blocks: what a reader sees as prose. */
  prose: string;
  blocks: { language: string; text: string }[];
}

const FENCE = /^( *)```(\w*)[^\n]*\n([\s\S]*?)^\1```/gm;

const pages = ['README.md', 'CHANGELOG.md', ...markdownUnder('docs'), ...markdownUnder('examples')].map(
  (file): Page => {
    const text = readFileSync(file, 'utf8');
    const blocks = [...text.matchAll(FENCE)].map(([, , language, block]) => ({
      language: language!,
      text: block!,
    }));
    return { file, text, prose: text.replaceAll(FENCE, ''), blocks };
  },
);

function markdownUnder(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.md'))
    .map((file) => join(folder, file));
}

describe('links', () => {
  const links = pages.flatMap(({ file, prose }) =>
    [...prose.matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, target]) => ({ file, target: target! }))
      .filter(({ target }) => !/^[a-z]+:/.test(target)),
  );

  it.each(links)('$file → $target leads somewhere', ({ file, target }) => {
    const [path, anchor] = target.split('#') as [string, string | undefined];
    const linked = path === '' ? file : relative('.', resolve(dirname(file), path));
    expect({ linked, exists: existsSync(linked) }).toEqual({ linked, exists: true });
    if (anchor === undefined || statSync(linked).isDirectory()) return;
    expect(anchorsOf(readFileSync(linked, 'utf8'))).toContain(anchor);
  });
});

/** The ids that GitHub gives to headings. */
function anchorsOf(markdown: string): string[] {
  const seen = new Map<string, number>();
  return [...markdown.replaceAll(FENCE, '').matchAll(/^#{1,6} +(.+)$/gm)].map(([, heading]) => {
    const slug = heading!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(/\s/g, '-');
    const count = seen.get(slug) ?? 0;
    seen.set(slug, count + 1);
    return count === 0 ? slug : `${slug}-${count}`;
  });
}

describe('names', () => {
  const all = pages.map(({ text }) => text).join('\n');
  const found = (pattern: RegExp, text = all): string[] => [
    ...new Set([...text.matchAll(pattern)].map(([, name]) => name!)),
  ];

  it('every npm script exists', () => {
    const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: object };
    expect(found(/npm run ([\w:-]+)/g).filter((name) => !Object.hasOwn(scripts, name))).toEqual([]);
  });

  it('every variable exists', () => {
    const known = new Set(
      [OrchestratorVariables, WorkerVariables].flatMap((schema) =>
        variablesOf(schema).map(({ name }) => name),
      ),
    );
    // The page about workers in other languages names constants of the Python example too.
    const ours = pages.filter(({ file }) => !file.endsWith('writing-a-worker.md'));
    const named = found(
      /`([A-Z][A-Z\d]*(?:_[A-Z\d]+)+)(?:=[^`]*)?`/g,
      ours.map(({ text }) => text).join('\n'),
    );
    expect(named.length).toBeGreaterThan(30);
    const isKnown = (name: string): boolean => known.has(name) || name.startsWith('FLOW_CONNECTION_');
    expect(named.filter((name) => !isKnown(name))).toEqual([]);
  });

  it('docs/api.md has every reason for waiting and every metric', () => {
    const api = readFileSync('docs/api.md', 'utf8');
    const source = readFileSync('src/orchestrator/api/metrics.ts', 'utf8');
    const metrics = found(/'((?:flow|http)_[a-z_]+)'/g, source);
    expect(metrics.length).toBeGreaterThan(5);
    expect([...WAITING_CODES, ...metrics].filter((name) => !api.includes(`\`${name}\``))).toEqual([]);
  });
});

describe('flows', () => {
  const { handlers } = builtinNodes({ connections: {} });
  const registry = new NodeRegistry(handlers);

  const jsonBlocks = pages.flatMap(({ file, blocks }) =>
    blocks.filter(({ language }) => language === 'json').map(({ text }) => ({ file, text })),
  );
  const curlBodies = curls().flatMap(({ file, body }) => (body === null ? [] : [{ file, text: body }]));

  it('every JSON block is JSON', () => {
    expect(() => [...jsonBlocks, ...curlBodies].forEach(({ text }) => JSON.parse(text))).not.toThrow();
  });

  const values = [...jsonBlocks, ...curlBodies].map(({ file, text }) => ({
    file,
    text: text.slice(0, 60),
    value: JSON.parse(text) as Record<string, unknown>,
  }));
  const requests = values.flatMap(({ value, ...place }) =>
    [value, ...((value['items'] ?? []) as Record<string, unknown>[])]
      .filter((request) => request['flowData'] !== undefined)
      .map((request) => ({ ...place, request })),
  );
  const nodes = values.filter(({ value }) => typeof value['id'] === 'string' && 'config' in value);

  it('finds some', () => {
    expect(requests.length).toBeGreaterThan(3);
    expect(new Set(nodes.map(({ value }) => value['type']))).toEqual(new Set(registry.types));
  });

  it.each(requests)('$file: $text … would be accepted', ({ request }) => {
    const checked = toNewExecution(request, {
      limits: DEFAULTS,
      flows: new FlowChecks(FLOW_LIMITS),
      knownNodeTypes: new Set(registry.types),
      now: Date.now(),
      newId: () => 'new',
    });
    expect(checked).toMatchObject({ ok: true });
    expect(checkFlow(request['flowData'], FLOW_LIMITS)).toEqual([]);
    const graph = request['flowData'] as FlowGraph;
    // A node type of the example worker in Python is unknown here.
    const foreign = graph.nodes.filter(({ type }) => !registry.types.includes(type));
    expect(foreign.every(({ type }) => type.startsWith('python-'))).toBe(true);
    if (foreign.length === 0) expect(registry.checkGraph(graph)).toBeUndefined();
  });

  it.each(nodes)('$file: $text … is a node that a worker takes', ({ value }) => {
    const graph = { nodes: [value], connections: [] } as unknown as FlowGraph;
    expect(checkFlow({ name: 'one node', version: 1, ...graph }, FLOW_LIMITS)).toEqual([]);
    expect(registry.checkGraph(graph)).toBeUndefined();
  });
});

describe('routes', () => {
  const routes = API_CONTROLLERS.flatMap(routesOf);

  it.each(curls())('$file: $method $path exists', ({ method, path }) => {
    const isServed = routes.some((route) => route.method === method && route.pattern.test(path));
    expect({ method, path, isServed }).toEqual({ method, path, isServed: true });
  });

  it('docs/api.md has every route', () => {
    const api = readFileSync('docs/api.md', 'utf8');
    const names = routes.map(({ method, path }) => `${method} ${path}`);
    expect(names.length).toBeGreaterThan(10);
    expect(names.filter((name) => !api.includes(`\`${name}\``))).toEqual([]);
  });
});

interface Route {
  method: string;
  path: string;
  pattern: RegExp;
}

/** By the metadata that Nest's own decorators leave. */
function routesOf(controller: Type): Route[] {
  const read = (name: string, target: object): unknown => Reflect.getMetadata(name, target);
  const base = read('path', controller) as string;
  const prototype = controller.prototype as Record<string, object>;
  return Object.getOwnPropertyNames(prototype).flatMap((name) => {
    const handler = prototype[name]!;
    const method = read('method', handler) as RequestMethod | undefined;
    if (method === undefined) return [];
    const path = `/${[base, read('path', handler) as string]
      .map((part) => part.replaceAll(/^\/|\/$/g, ''))
      .filter((part) => part !== '')
      .join('/')}`;
    const pattern = new RegExp(`^${path.replaceAll(/:\w+/g, '[^/]+')}$`);
    return [{ method: RequestMethod[method], path, pattern }];
  });
}

interface Curl {
  file: string;
  method: string;
  path: string;
  body: string | null;
}

function curls(): Curl[] {
  return pages.flatMap(({ file, blocks }) =>
    blocks
      .filter(({ language, text }) => language === 'sh' && text.includes('curl '))
      .flatMap(({ text }) => text.split(/^(?=curl )/m).filter((command) => command.startsWith('curl ')))
      .map((command) => {
        const url = new URL(/https?:\/\/[^\s']+/.exec(command)![0]);
        const body = / -d '([^']*)'/.exec(command)?.[1] ?? null;
        const method = / -X (\w+)/.exec(command)?.[1] ?? (body === null ? 'GET' : 'POST');
        return { file, method, path: url.pathname, body };
      }),
  );
}
