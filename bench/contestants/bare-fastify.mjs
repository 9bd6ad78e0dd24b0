/** The least that a service on RabbitMQ can do with a request: Fastify, and one confirmed publish to a quorum queue. */
import { fileURLToPath } from 'node:url';
import { freePort } from '../../scripts/processes.mjs';
import { httpPool, postAll } from '../http-load.mjs';
import { ownPackageVersion } from '../package-version.mjs';
import { payload } from '../payload.mjs';
import { freshName } from './contestant.mjs';
import { flowRequest } from './product.mjs';

const ROLE = fileURLToPath(new URL('../roles/fastify-server.mjs', import.meta.url));

/** @type {import('./contestant.mjs').ContestantKind} */
export const bareFastify = { name: 'bare Fastify', start: startFastify };

/**
 * @param {import('./contestant.mjs').Surroundings} surroundings
 * @returns {Promise<import('./contestant.mjs').Contestant>}
 */
async function startFastify({ servers, processes, journal }) {
  const broker = await servers.broker();
  journal.uses({ Fastify: ownPackageVersion('fastify'), RabbitMQ: (await broker.ctl(['version'])).trim() });
  const vhost = freshName('fastify');
  const port = await freePort();
  const args = [ROLE, await broker.createVhost(vhost), String(port)];
  const server = await processes.startNode('bare Fastify', args, { readyWhen: /ready/ });
  const pool = httpPool(`http://127.0.0.1:${port}`);

  return {
    name: bareFastify.name,
    async runSingles(count, connections) {
      const startedAt = performance.now();
      // The same bodies as the product gets.
      const bodyOf = (/** @type {number} */ seq) => flowRequest(payload(seq));
      await postAll({ pool, path: '/', count, connections, bodyOf });
      return { acceptedMs: performance.now() - startedAt };
    },
    roots: async () => ({ server: [server.pid], broker: [broker.pid] }),
    async stop() {
      await pool.close();
      await server.stop();
      await broker.deleteVhost(vhost);
    },
  };
}
