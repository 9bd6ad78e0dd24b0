import { createServer } from 'node:http';

export interface FlakyServer {
  url(path: string): string;
  /** What the path answers from now on: the statuses in turn, the last one for ever. */
  answer(path: string, ...statuses: number[]): void;
  calls(path: string): number;
  /** When the path was called, epoch ms. */
  times(path: string): number[];
  /** The Idempotency-Key of each call. */
  keys(path: string): (string | undefined)[];
  close(): Promise<void>;
}

/** A real HTTP server that fails as told: what `http-request` nodes call in tests. */
export async function flakyServer(): Promise<FlakyServer> {
  const plans = new Map<string, number[]>();
  const seen = new Map<string, { at: number; key: string | undefined }[]>();
  const server = createServer((request, response) => {
    const path = request.url ?? '/';
    const calls = seen.get(path) ?? [];
    calls.push({ at: Date.now(), key: request.headers['idempotency-key'] as string | undefined });
    seen.set(path, calls);
    const plan = plans.get(path) ?? [200];
    const status = plan[Math.min(calls.length, plan.length) - 1]!;
    request.resume();
    response
      .writeHead(status, { 'content-type': 'application/json' })
      .end(JSON.stringify({ call: calls.length }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  return {
    url: (path) => `http://127.0.0.1:${port}${path}`,
    answer: (path, ...statuses) => void plans.set(path, statuses),
    calls: (path) => seen.get(path)?.length ?? 0,
    times: (path) => (seen.get(path) ?? []).map(({ at }) => at),
    keys: (path) => (seen.get(path) ?? []).map(({ key }) => key),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
