/** The HTTP client of every contestant that is reached over HTTP: undici, connections kept alive, no pipelining. */
import { Pool } from 'undici';
import { inParallel } from './waiting.mjs';

/**
 * @param {string} url
 * @param {number} [connections]
 */
export function httpPool(url, connections = 64) {
  return new Pool(url, { connections, headersTimeout: 300_000, bodyTimeout: 300_000 });
}

/**
 * @param {Pool} pool
 * @param {'GET' | 'POST'} method
 * @param {string} path
 * @param {object} [body]
 * @returns {Promise<{ status: number, text: string }>}
 */
export async function request(pool, method, path, body) {
  const answer = await pool.request({
    method,
    path,
    headers: body && { 'content-type': 'application/json' },
    body: body && JSON.stringify(body),
  });
  return { status: answer.statusCode, text: await answer.body.text() };
}

/**
 * Posts `count` bodies, `connections` at a time; rejects unless each is answered with 202.
 *
 * @param {{ pool: Pool, path: string, count: number, connections: number, bodyOf: (seq: number) => object }} load
 */
export async function postAll({ pool, path, count, connections, bodyOf }) {
  const sequence = Array.from({ length: count }, (_, index) => index);
  await inParallel(connections, sequence, async (seq) => {
    const { status, text } = await request(pool, 'POST', path, bodyOf(seq));
    if (status !== 202) throw new Error(`Expected 202, got ${status}: ${text}`);
  });
}
